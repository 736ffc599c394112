// Drives the compression example with a real browser, through a proxy that counts bytes.
//
//   node compression.mjs <compression binary> <directory with node_modules/playwright-core>
//
// CHROMIUM names the browser (default /usr/bin/chromium). The exit code is 0 only if every check passed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { children, chromiumOf, limit } from './support.mjs';

const [binary, packages] = process.argv.slice(2);
const chromium = chromiumOf(packages);
limit(120);

let passed = 0, failed = 0;
function check(what, good, detail = '') {
  good ? passed++ : failed++;
  console.log(`${good ? 'ok' : 'not ok'} - compression: ${what}${good ? '' : `\n    ${detail}`}`);
}

/** Starts the example and gives its port. */
async function start(args) {
  const child = spawn(binary, ['127.0.0.1:0', ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  let output = '';
  while (!/:(\d+)\n/.test(output)) output += (await once(child.stdout, 'data'))[0];
  return { child, port: Number(/:(\d+)\n/.exec(output)[1]) };
}

/** Forwards to `port` and counts what goes each way. */
async function counting(port) {
  const count = { up: 0, down: 0 };
  const server = createServer((client) => {
    const peer = connect(port, '127.0.0.1');
    client.on('data', (data) => { count.up += data.length; }).pipe(peer);
    peer.on('data', (data) => { count.down += data.length; }).pipe(client);
    client.on('error', () => peer.destroy());
    peer.on('error', () => client.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { count, server, port: server.address().port };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
try {
  const used = {};
  for (const mode of ['no takeover', 'takeover']) {
    const { child, port } = await start(mode === 'takeover' ? ['takeover'] : []);
    const proxy = await counting(port);
    try {
      const page = await browser.newPage();
      await page.goto(`http://127.0.0.1:${proxy.port}/`);
      await page.waitForFunction(() => document.getElementById('agreed').value.startsWith('permessage-deflate'));
      const agreed = await page.evaluate(() => document.getElementById('agreed').value);
      const without = agreed.includes('no_context_takeover');
      check(`${mode}: negotiated "${agreed}"`, without === (mode === 'no takeover'), agreed);
      const before = { ...proxy.count };
      await page.click('#say');
      await page.waitForFunction(() => document.getElementById('back').value === '100');
      // One message is 95 bytes and more.
      const [up, down] = [proxy.count.up - before.up, proxy.count.down - before.down];
      check(`${mode}: 100 messages take ${up} bytes up, ${down} down`, up < 9500 && down < 9500, `${up}, ${down}`);
      used[mode] = { up, down };
      // Contents, of every size and kind, both ways.
      const wrong = await page.evaluate(async () => {
        const socket = new WebSocket(`ws://${location.host}/echo`);
        socket.binaryType = 'arraybuffer';
        await new Promise((open) => { socket.onopen = open; });
        const next = () => new Promise((done) => { socket.onmessage = (event) => done(event.data); });
        let wrong = 0;
        for (const size of [0, 1, 63, 64, 65, 1000, 65535, 65536, 300000]) {
          const text = 'grüße, 世界! '.repeat(size).slice(0, size);
          let reply = next();
          socket.send(text);
          if (await reply !== text) wrong += 1;
          const bytes = new Uint8Array(size).map((_, i) => (i * i * 31) >> 3);
          reply = next();
          socket.send(bytes);
          const back = new Uint8Array(await reply);
          if (back.length !== size || back.some((byte, i) => byte !== bytes[i])) wrong += 1;
        }
        const closed = new Promise((done) => { socket.onclose = done; });
        socket.close(1000, 'done');
        const { wasClean, code } = await closed;
        return wasClean && code === 1000 ? wrong : 'not clean';
      });
      check(`${mode}: 18 messages of 0 to 300000 characters and bytes come back as they were`, wrong === 0, wrong);
      await page.close();
    } finally {
      child.kill();
      proxy.server.close();
    }
  }
  const smaller = (way) => used.takeover[way] * 2 < used['no takeover'][way];
  check('takeover: less than half of that both ways', smaller('up') && smaller('down'), JSON.stringify(used));
} finally {
  await browser.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
