import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.Metadata;
import io.grpc.stub.MetadataUtils;
import io.tokenecho.v1.ChatMessage;
import io.tokenecho.v1.ChatServiceGrpc;
import io.tokenecho.v1.CreateChatCompletionRequest;
import io.tokenecho.v1.Role;

/**
 * Asks tokenecho from Java, with the code that protoc generated from proto/: once for a stream, once for a whole
 * answer. Its arguments are the address, 127.0.0.1:50051, and the key.
 */
public final class Client {
    public static void main(String[] args) {
        var headers = new Metadata();
        headers.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), "Bearer " + args[1]);
        var channel = Grpc.newChannelBuilder(args[0], InsecureChannelCredentials.create())
                .intercept(MetadataUtils.newAttachHeadersInterceptor(headers))
                .build();
        var chat = ChatServiceGrpc.newBlockingStub(channel);
        var request = CreateChatCompletionRequest.newBuilder()
                .setModel("gpt-4o")
                .addMessages(ChatMessage.newBuilder().setRole(Role.ROLE_USER).setText("Hello there"))
                .build();

        chat.streamChatCompletion(request)
                .forEachRemaining(item -> System.out.print(item.getChoices(0).getDelta().getContent()));
        System.out.println();

        var answer = chat.createChatCompletion(request);
        System.out.println(answer.getChoices(0).getMessage().getContent());

        channel.shutdown();
    }
}
