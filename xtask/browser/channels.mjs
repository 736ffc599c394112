// Drives the channels of sessions with a real browser, through a proxy that cuts connections. What the pages run are the
// snippets of docs/channels.md, as they stand there.
//
//   node channels.mjs <directory of the examples' binaries> <directory with node_modules/playwright-core>
//
// CHROMIUM names the browser (default /usr/bin/chromium). The exit code is 0 only if every check passed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { join, resolve } from 'node:path';

const [binaries, packages] = process.argv.slice(2);
const { chromium } = createRequire(join(resolve(packages), 'package.json'))('playwright-core');
const doc = readFileSync(new URL('../../docs/channels.md', import.meta.url), 'utf8');
const snippets = [...doc.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code).join('\n');
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill()));
setTimeout(() => { console.error('not in time'); process.exit(1); }, 240_000).unref();

let passed = 0, failed = 0;
/** Passes if `test` gives true. */
async function check(what, test) {
  let outcome;
  try {
    outcome = await test();
  } catch (error) {
    outcome = String(error.stack ?? error);
  }
  outcome === true ? passed++ : failed++;
  console.log(outcome === true ? `ok - channels: ${what}` : `not ok - channels: ${what}\n    ${typeof outcome === 'string' ? outcome : JSON.stringify(outcome)}`);
}

/** Starts an example and gives its port. */
async function start(name) {
  const child = spawn(join(resolve(binaries), name), ['127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  let output = '';
  while (!/:(\d+)\n/.test(output)) output += (await once(child.stdout, 'data'))[0];
  return { child, port: Number(/:(\d+)\n/.exec(output)[1]) };
}

/** Forwards to `port`; `cut` resets all connections that match, in the middle of whatever they say. */
async function cutting(port) {
  const live = new Set();
  const server = createServer((client) => {
    const peer = connect(port, '127.0.0.1');
    const pair = { said: '', end: () => { client.resetAndDestroy(); peer.resetAndDestroy(); } };
    live.add(pair);
    client.on('data', (data) => { pair.said = (pair.said + data.toString('latin1')).slice(-4_000); }).pipe(peer);
    peer.pipe(client);
    for (const socket of [client, peer]) {
      socket.on('error', pair.end).on('close', () => live.delete(pair));
    }
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const cut = (path) => {
    const cut = [...live].filter((pair) => pair.said.includes(`GET ${path}`));
    cut.forEach((pair) => pair.end());
    return cut.length;
  };
  return { cut, url: `http://127.0.0.1:${server.address().port}` };
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});

/** A browser of its own: with its own cookies. */
async function newContext() {
  const context = await browser.newContext();
  await context.addInitScript(snippets);
  return context;
}

async function open(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  return page;
}

const post = (page, path, body) => page.evaluate(
  async ([path, body]) => (await fetch(path, { method: 'POST', body })).text(), [path, body]);
const numbers = (last) => Array.from({ length: last }, (_, i) => `${i + 1}`).join();
/** The texts of a list's items. */
const texts = (page, list) => page.locator(`${list} li`).allTextContents();
const shows = async (page, list, text) => {
  await page.locator(`${list} li`, { hasText: text }).first().waitFor();
  return true;
};

/** Runs one of the snippets in a page; what it gets is in `window.got`. */
const run = (page, snippet, path) => page.evaluate(([snippet, path]) => {
  window.got = [];
  window.resets = 0;
  const functions = { follow, connect, viaEvents };
  window.channel = functions[snippet](path, (data) => window.got.push(data), () => { window.resets += 1; });
}, [snippet, path]);
const got = (page) => page.evaluate(() => ({ got: window.got.join(), resets: window.resets }));
const has = (page, data) => page.waitForFunction((data) => window.got.includes(data), data);

try {
  const { port } = await start('channels');
  const proxy = await cutting(port);

  // The page's own request sends to the page's channel.
  const own = await newContext();
  const page = await open(own, proxy.url);
  await check('what the own request of a page sends arrives', () => shows(page, '#events', 'hello Chashu'));
  const missing = [];
  for (let i = 0; i < 20; i++) {
    const before = Date.now();
    await page.reload();
    try {
      await page.locator('#events li', { hasText: 'hello Chashu' }).first().waitFor({ timeout: 2000 });
    } catch { missing.push(i); }
  }
  await check('20 reloads in a row: each is answered, and gets its message', async () => missing.length === 0 || missing);
} finally {
  await browser.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 ? 1 : 0);
