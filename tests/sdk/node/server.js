// Starts a server under test: the real binary, in a separate process.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import OpenAI from 'openai';

const BINARY = process.env.BINARY ?? fileURLToPath(new URL('../../../target/debug/tokenecho', import.meta.url));
const FIXED = '--port 0 --grpc-port off --admin-port off --log-format json --api-key alice:123 --itl 1ms';
// Options in the environment of the test run must not reach the server.
const ENV = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TOKENECHO_')));

/** Starts a server that accepts the key 123 and sends one token per millisecond. */
export async function start(...options) {
  const child = spawn(BINARY, [...FIXED.split(' '), ...options], { env: ENV, stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(child, 'close');
  const log = [];
  const ready = new Promise((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.push(line);
      if (line.includes(' is ready')) resolve(JSON.parse(line));
    });
    ended.then(() => reject(new Error(`the server did not start:\n${log.join('\n')}`)), reject);
  });
  const { api } = await ready;

  let leaving;
  async function leave() {
    child.kill('SIGTERM');
    const [code] = await ended;
    if (code !== 0) throw new Error(`the server exited with ${code}:\n${log.join('\n')}`);
  }
  return {
    /** Returns a client of the OpenAI SDK for this server. */
    client: (options) => new OpenAI({ baseURL: `http://${api}/v1`, apiKey: '123', maxRetries: 0, ...options }),
    /** Sends SIGTERM, only once, and checks that the server exits with 0. */
    stop: () => (leaving ??= leave()),
  };
}
