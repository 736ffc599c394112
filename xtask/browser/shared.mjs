// Opens 20 event streams and 5 WebSockets in two tabs of a real browser, over TLS, through a proxy that counts connections.
// Over HTTP/2 all of them share one connection. Over HTTP/1.1, the browser opens six event streams and lets the others wait.
//
//   node shared.mjs <chat binary> <directory with node_modules/playwright-core>
//
// CHROMIUM names the browser (default /usr/bin/chromium). The exit code is 0 only if every check passed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { resolve } from 'node:path';
import { checks, children, chromiumOf, limit } from './support.mjs';

const TABS = 2, STREAMS = 10, SOCKETS = [3, 2], MESSAGES = 20;
const [binary, packages] = process.argv.slice(2);
const chromium = chromiumOf(packages);
limit(120);

const { check, finish } = checks('shared');
const same = (got, wanted) => JSON.stringify(got) === JSON.stringify(wanted) || { got, wanted };

/** Starts the chat with TLS and gives its port. */
async function start() {
  const env = { ...process.env, CHAT_ADDR: '127.0.0.1:0' };
  const child = spawn(resolve(binary), ['--tls'], { stdio: ['ignore', 'pipe', 'inherit'], env });
  children.add(child);
  let output = '';
  while (!/https:.*:(\d+)\//.test(output)) output += (await once(child.stdout, 'data'))[0];
  child.stdout.resume();
  return Number(/https:.*:(\d+)\//.exec(output)[1]);
}

/** Forwards to `port` and counts the connections that a browser opens. */
async function counting(port) {
  const count = { opened: 0 };
  const server = createServer((client) => {
    count.opened += 1;
    const peer = connect(port, '127.0.0.1');
    client.pipe(peer);
    peer.pipe(client);
    client.on('error', () => peer.destroy());
    peer.on('error', () => client.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { count, url: `https://127.0.0.1:${server.address().port}` };
}

/** What the pages run. */
const tools = `
  window.lists = [];
  window.isOpen = [];
  window.sockets = [];
  window.keep = (source) => {
    const at = lists.push([]) - 1;
    isOpen.push(false);
    source.onopen = () => { isOpen[at] = true; };
    source.onmessage = ({ data }) => {
      const { type, text } = JSON.parse(data);
      if (type === 'message') lists[at].push(text);
    };
    return source;
  };
  window.follow = (count) => {
    for (let i = 0; i < count; i++) keep(new EventSource('/api/rooms/shared/events'));
  };
  window.talk = (names) => {
    for (const name of names) sockets.push(keep(new WebSocket(\`wss://\${location.host}/api/rooms/shared/socket?name=\${name}\`)));
  };
  window.say = (socket, text) => sockets[socket].send(JSON.stringify({ type: 'message', text }));`;

/** Launches a browser and opens the tabs, each at a page without streams of its own. */
async function launch(url, args = []) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--ignore-certificate-errors', ...args],
  });
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  await context.addInitScript(tools);
  const tabs = [];
  for (let i = 0; i < TABS; i++) {
    const page = await context.newPage();
    // An answer of 404 has no script. It opens the connection: browsers send a WebSocket over HTTP/2 only on a connection
    // whose settings allow it, and open one for HTTP/1.1 as long as there is none.
    await page.goto(`${url}/api/none`);
    tabs.push(page);
  }
  return { browser, tabs };
}

const names = (tab) => Array.from({ length: SOCKETS[tab] }, (_, i) => `tab${tab}-${i}`);
const openCount = (tab) => tab.evaluate(() => isOpen.filter(Boolean).length);
const total = async (tabs) => (await Promise.all(tabs.map(openCount))).reduce((sum, count) => sum + count, 0);
const allOpen = (tab) => tab.waitForFunction(() => isOpen.every(Boolean)).then(() => true);

async function http2(port) {
  const proxy = await counting(port);
  const { browser, tabs } = await launch(proxy.url);
  try {
    await check('20 event streams and 5 WebSockets of two tabs are open at once', async () => {
      for (const [at, tab] of tabs.entries()) {
        await tab.evaluate(([streams, names]) => { follow(streams); talk(names); }, [STREAMS, names(at)]);
      }
      for (const tab of tabs) await allOpen(tab);
      return same(await total(tabs), TABS * STREAMS + SOCKETS[0] + SOCKETS[1]);
    });
    await check('each stream and each socket gets all messages in one order, those of a socket as it has sent them', async () => {
      const sent = [];
      const talking = [];
      for (const [at, tab] of tabs.entries()) {
        for (const [socket, name] of names(at).entries()) {
          const texts = Array.from({ length: MESSAGES }, (_, i) => `${name}: ${i}`);
          sent.push(...texts);
          talking.push(tab.evaluate(([socket, texts]) => { for (const text of texts) say(socket, text); }, [socket, texts]));
        }
      }
      await Promise.all(talking);
      for (const tab of tabs) await tab.waitForFunction((all) => lists.every((list) => list.length >= all), sent.length);
      const lists = (await Promise.all(tabs.map((tab) => tab.evaluate(() => lists)))).flat();
      const of = (name) => lists[0].filter((text) => text.startsWith(`${name}:`));
      const inOrder = [0, 1].flatMap((at) => names(at)).flatMap(of);
      const differing = lists.filter((list) => JSON.stringify(list) !== JSON.stringify(lists[0]));
      return same([inOrder, lists.length, differing.length], [sent, TABS * STREAMS + SOCKETS[0] + SOCKETS[1], 0]);
    });
    await check('a request beside them is answered over HTTP/2', async () => {
      const answer = await tabs[0].evaluate(async () => [
        (await fetch('/lobby')).status, performance.getEntriesByType('navigation')[0].nextHopProtocol]);
      return same(answer, [200, 'h2']);
    });
    await check('all that went over one connection', () => same(proxy.count.opened, 1));
  } finally {
    await browser.close();
  }
}

/** What HTTP/2 is for: the same browser, which may not use it. */
async function http1(port) {
  const proxy = await counting(port);
  const { browser, tabs } = await launch(proxy.url, ['--disable-http2']);
  try {
    await check('over HTTP/1.1, six event streams of two tabs open and the others wait', async () => {
      await tabs[0].evaluate((names) => talk(names), names(0));
      await allOpen(tabs[0]);
      for (const tab of tabs) await tab.evaluate((streams) => follow(streams), STREAMS);
      while (await total(tabs) < SOCKETS[0] + 6) await new Promise((done) => { setTimeout(done, 20); });
      // A message that all open streams have got.
      await tabs[0].evaluate(() => say(0, 'the last'));
      const heard = async () => (await Promise.all(tabs.map((tab) => tab.evaluate(
        () => lists.filter((list) => list.includes('the last')).length)))).reduce((sum, count) => sum + count, 0);
      while (await heard() < SOCKETS[0] + 6) await new Promise((done) => { setTimeout(done, 20); });
      return same([await total(tabs), await heard(), proxy.count.opened], [SOCKETS[0] + 6, SOCKETS[0] + 6, SOCKETS[0] + 6]);
    });
  } finally {
    await browser.close();
  }
}

try {
  const port = await start();
  await http2(port);
  await http1(port);
} catch (error) {
  await check('the run comes to its end', () => Promise.reject(error));
}
finish();
