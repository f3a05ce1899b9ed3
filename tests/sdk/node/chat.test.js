// Tests chat completions and models with the official OpenAI client.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { start } from './server.js';

const REPLY = 'As a mock AI Assistant, I can only echo your last message: Hi you';
const SAY_HI = { model: 'gpt-5', messages: [{ role: 'user', content: 'Hi you' }] };

let server;
let client;
before(async () => {
  server = await start();
  client = server.client();
});
after(() => server.stop());

async function collect(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

test('a completion echoes the last message', async () => {
  const completion = await client.chat.completions.create(SAY_HI);

  const [choice] = completion.choices;
  assert.deepEqual(choice.message, { role: 'assistant', content: REPLY, refusal: null });
  assert.equal(choice.finish_reason, 'stop');
  assert.equal(completion.object, 'chat.completion');
  assert.equal(completion.usage.total_tokens, 24);
});

test('a stream carries the same text as the completion, under one id', async () => {
  const stream = await client.chat.completions.create({ ...SAY_HI, stream: true });

  const chunks = await collect(stream);

  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), REPLY);
  assert.deepEqual(chunks[0].choices[0].delta, { role: 'assistant', content: '', refusal: null });
  assert.deepEqual(chunks.at(-1).choices[0].delta, {});
  assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
});

test('a stream reports its usage last if requested', async () => {
  const stream_options = { include_usage: true };
  const stream = await client.chat.completions.create({ ...SAY_HI, stream: true, stream_options });

  const chunks = await collect(stream);

  const last = chunks.pop();
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 16);
  assert.ok(chunks.every((chunk) => chunk.usage === null));
});

test('a stream helper receives every token and the end', async () => {
  const stream = client.chat.completions.stream({ ...SAY_HI, stream_options: { include_usage: true } });
  const heard = [];
  let last;
  const final = {};
  stream.on('content', (delta, snapshot) => {
    heard.push(delta);
    last = snapshot;
  });
  stream.on('finalContent', (content) => (final.content = content));
  stream.on('finalChatCompletion', (completion) => (final.completion = completion));

  const content = await stream.finalContent();
  const completion = await stream.finalChatCompletion();
  await stream.done();

  assert.equal(heard.join(''), REPLY);
  assert.equal(last, REPLY);
  assert.equal(content, REPLY);
  assert.equal(final.content, REPLY);
  assert.equal(final.completion.id, completion.id);
  assert.equal(completion.choices[0].finish_reason, 'stop');
  assert.equal(completion.usage.completion_tokens, 16);
});

test('a stream helper keeps choices apart', async () => {
  const completion = await client.chat.completions.stream({ ...SAY_HI, n: 3 }).finalChatCompletion();

  assert.deepEqual(completion.choices.map((choice) => choice.message.content), [REPLY, REPLY, REPLY]);
});

test('stop and max_tokens cut the reply', async () => {
  const stopped = await client.chat.completions.create({ ...SAY_HI, stop: ['r last mess'] });
  const limited = await client.chat.completions.create({ ...SAY_HI, max_tokens: 3 });

  assert.equal(stopped.choices[0].message.content, 'As a mock AI Assistant, I can only echo you');
  assert.equal(stopped.choices[0].finish_reason, 'stop');
  assert.equal(limited.choices[0].message.content, 'As a mock');
  assert.equal(limited.choices[0].finish_reason, 'length');
});

test('a tool loop ends with the result of the tool', async () => {
  const called = [];
  const weather = {
    type: 'function',
    function: { name: 'weather', parameters: {}, parse: JSON.parse, function: () => called.push('weather') },
  };

  const runner = client.chat.completions.runTools({ ...SAY_HI, stream: true, tools: [weather] });

  assert.equal(await runner.finalContent(), REPLY);
  assert.deepEqual(called, []);
});

test('a client may stop reading a stream early', async () => {
  const headers = { 'x-mock-itl': '60s' };
  for await (const chunk of await client.chat.completions.create({ ...SAY_HI, stream: true }, { headers })) {
    assert.equal(chunk.choices[0].delta.role, 'assistant');
    break;
  }

  const completion = await client.chat.completions.create(SAY_HI);
  assert.equal(completion.choices[0].message.content, REPLY);
});

test('the answer has the headers of the API', async () => {
  const { data, response, request_id } = await client.chat.completions.create(SAY_HI).withResponse();

  assert.equal(response.headers.get('openai-version'), '2020-10-01');
  assert.ok(Number(response.headers.get('openai-processing-ms')) >= 15);
  assert.equal(response.headers.get('x-request-id'), request_id);
  assert.equal(data._request_id, request_id);
});

test('models are listed, and any can be retrieved', async () => {
  const { data } = await client.models.list();
  const model = await client.models.retrieve('meta-llama/Llama-3');

  assert.deepEqual(data.map(({ id, object }) => ({ id, object })), [{ id: 'mock-gpt-model', object: 'model' }]);
  assert.equal(model.id, 'meta-llama/Llama-3');
});
