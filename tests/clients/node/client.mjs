// Asks tokenecho from Node, which reads proto/ itself: once for a stream, once for a whole answer.
// Run it in the root of the repository: node tests/clients/node/client.mjs 127.0.0.1:50051 KEY
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const [address, key] = process.argv.slice(2);
const definition = loadSync("tokenecho/v1/chat.proto", { includeDirs: ["proto"] });
const { ChatService } = grpc.loadPackageDefinition(definition).tokenecho.v1;
const chat = new ChatService(address, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${key}`);
const request = { model: "gpt-4o", messages: [{ role: "ROLE_USER", text: "Hello there" }] };

for await (const item of chat.streamChatCompletion(request, metadata)) {
  process.stdout.write(item.choices[0].delta.content ?? "");
}
console.log();

const answer = await promisify(chat.createChatCompletion).call(chat, request, metadata);
console.log(answer.choices[0].message.content);
