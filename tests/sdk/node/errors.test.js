// Tests the errors that the official OpenAI client throws.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import { start } from './server.js';

const SAY_HI = { model: 'gpt-5', messages: [{ role: 'user', content: 'Hi you' }] };

let server;
before(async () => {
  server = await start('--model', 'gpt-5');
});
after(() => server.stop());

/** Returns a client, and an array that records the status of every answer. */
function noting(options) {
  const answers = [];
  const noted = async (...request) => {
    const response = await fetch(...request);
    answers.push(response.status);
    return response;
  };
  return { answers, client: server.client({ fetch: noted, ...options }) };
}

/** Returns the error of the call, which must have this class. */
async function failure(Kind, call) {
  const error = await call.then(() => assert.fail('the call did not fail'), (error) => error);
  assert.equal(error.constructor, Kind, error.stack);
  return error;
}

test('a wrong key is an AuthenticationError', async () => {
  const client = server.client({ apiKey: 'wrong' });

  const error = await failure(OpenAI.AuthenticationError, client.chat.completions.create(SAY_HI));

  assert.deepEqual([error.status, error.type, error.code], [401, 'invalid_request_error', 'invalid_api_key']);
});

test('no key is an AuthenticationError', async () => {
  const headers = { Authorization: null };

  const error = await failure(
    OpenAI.AuthenticationError,
    server.client().chat.completions.create(SAY_HI, { headers }),
  );

  assert.match(error.message, /You didn't provide an API key/);
});

test('an unknown model is a NotFoundError', async () => {
  const request = { ...SAY_HI, model: 'gpt-0' };

  const error = await failure(OpenAI.NotFoundError, server.client().chat.completions.create(request));

  assert.equal(error.code, 'model_not_found');
  assert.match(error.message, /The model `gpt-0` does not exist/);
});

for (const stream of [false, true]) {
  test(`a bad parameter is a BadRequestError that names it (stream: ${stream})`, async () => {
    const request = { ...SAY_HI, temperature: 3, stream };

    const error = await failure(OpenAI.BadRequestError, server.client().chat.completions.create(request));

    assert.deepEqual(
      [error.status, error.type, error.param, error.code],
      [400, 'invalid_request_error', 'temperature', 'decimal_above_max_value'],
    );
    assert.ok(error.requestID);
  });
}

test('a bad parameter ends a stream helper with a BadRequestError', async () => {
  const stream = server.client().chat.completions.stream({ ...SAY_HI, n: 0 });

  const error = await failure(OpenAI.BadRequestError, stream.finalContent());

  assert.equal(error.param, 'n');
});

test('a 429 is retried twice and is a RateLimitError', async () => {
  const { answers, client } = noting({ maxRetries: 2 });
  const headers = { 'x-mock-status': '429' };

  const error = await failure(OpenAI.RateLimitError, client.chat.completions.create(SAY_HI, { headers }));

  assert.deepEqual(answers, [429, 429, 429]);
  assert.deepEqual([error.type, error.code], ['requests', 'rate_limit_exceeded']);
});

test('a 500 is retried and is an InternalServerError', async () => {
  const { answers, client } = noting({ maxRetries: 1 });
  const headers = { 'x-mock-status': '500' };

  const error = await failure(OpenAI.InternalServerError, client.chat.completions.create(SAY_HI, { headers }));

  assert.deepEqual(answers, [500, 500]);
  assert.deepEqual([error.type, error.code], ['server_error', 'internal_error']);
});

test('a late first token is a client timeout', async () => {
  const headers = { 'x-mock-ttft': '60s' };

  await failure(
    OpenAI.APIConnectionTimeoutError,
    server.client().chat.completions.create(SAY_HI, { headers, timeout: 200 }),
  );
});

test('a server that shuts down ends its streams with an APIError', async (t) => {
  const leaving = await start('--shutdown-timeout', '100ms');
  t.after(() => leaving.stop());
  const headers = { 'x-mock-itl': '60s' };
  const stream = await leaving.client().chat.completions.create({ ...SAY_HI, stream: true }, { headers });
  const chunks = stream[Symbol.asyncIterator]();
  await chunks.next();

  leaving.stop();
  const error = await failure(
    OpenAI.APIError,
    (async () => {
      while (!(await chunks.next()).done);
    })(),
  );

  assert.deepEqual([error.type, error.code], ['server_error', 'shutting_down']);
});
