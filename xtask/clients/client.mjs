// The node clients `ws` and `undici` against a server's /echo, /plaintext and /sse.

import { createRequire } from 'node:module';
import { join } from 'node:path';

const [address, packages] = process.argv.slice(2);
const require = createRequire(join(packages, 'package.json'));
const { WebSocket: Ws } = require('ws');
const undici = require('undici');

let passed = 0, failed = 0;
function check(what, good) {
  good ? passed++ : failed++;
  console.log(`${good ? 'ok' : 'not ok'} - node: ${what}`);
}
const once = (target, event) => new Promise((resolve, reject) => {
  target.addEventListener(event, resolve, { once: true });
  target.addEventListener('error', () => reject(new Error(`no ${event}`)), { once: true });
});
setTimeout(() => { console.error('not in time'); process.exit(1); }, 60_000).unref();

for (const [name, Socket] of [['ws', Ws], ['undici', undici.WebSocket]]) {
  const socket = new Socket(`ws://${address}/echo`);
  socket.binaryType = 'arraybuffer';
  await once(socket, 'open');
  let reply = once(socket, 'message');
  socket.send('hello');
  check(`${name}: text stays text`, (await reply).data === 'hello');
  reply = once(socket, 'message');
  socket.send(new Uint8Array([65, 66]));
  const { data } = await reply;
  check(`${name}: binary stays binary`, data instanceof ArrayBuffer && data.byteLength === 2);
  if (name === 'ws') {
    const pong = new Promise((resolve) => socket.once('pong', resolve));
    socket.ping('here?');
    check('ws: a ping is answered with its payload', String(await pong) === 'here?');
    reply = once(socket, 'message');
    socket.send('he', { fin: false });
    socket.send('llo', { fin: true });
    check('ws: fragments are joined', (await reply).data === 'hello');
  }
  const closed = once(socket, 'close');
  socket.close(1000);
  const end = await closed;
  check(`${name}: closes clean with 1000`, end.wasClean && end.code === 1000);
}

const { statusCode, body } = await undici.request(`http://${address}/plaintext`);
check('undici: a plain request', statusCode === 200 && (await body.text()) === 'Hello, World!');

const client = new undici.Client(`http://${address}`, { pipelining: 10 });
const replies = await Promise.all(Array.from({ length: 100 }, async (_, number) => {
  const method = number % 3 === 0 ? 'HEAD' : 'GET';
  const reply = await client.request({ path: number % 5 === 0 ? '/nowhere' : '/plaintext', method });
  const text = await reply.body.text();
  return reply.statusCode === (number % 5 === 0 ? 404 : 200) && (text === '') === (method === 'HEAD');
}));
check('undici: 100 requests, ten in the pipeline', replies.every(Boolean));
await client.close();

const source = new undici.EventSource(`http://${address}/sse`);
await once(source, 'open');
const event = once(source, 'message');
await undici.request(`http://${address}/publish`, { method: 'POST', body: 'two\nlines' });
check('undici: an event of two lines', (await event).data === 'two\nlines');
source.close();

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
