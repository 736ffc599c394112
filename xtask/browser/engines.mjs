// What must hold in every browser engine: the chat, and channels through a proxy that resets each connection after about a
// second. The clients of channels are the snippets of docs/channels.md, as they stand there, and a plain WebSocket.
//
//   node engines.mjs chromium|firefox|webkit <directory of the examples' binaries> <directory with node_modules>
//
// A file in engines/ drives each engine: `launch` gives a browser with `newContext` and `close`; a context has its own
// cookies, and `open` and `close`; a page has `goto` and `evaluate`, whose function takes and gives JSON. The programs are
// named by variables, which `cargo xtask browser` sets. The exit code is 0 only if every check passed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { checks, children, limit } from './support.mjs';

const LIMIT_MS = 60_000;
/** How far the clients of channels count. */
const LAST = 4_000;
const [engine, binaries, packages] = process.argv.slice(2);
const doc = readFileSync(new URL('../../docs/channels.md', import.meta.url), 'utf8');
const snippets = [...doc.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code).join('\n');
limit(240);

const { check, finish } = checks(engine);

/** Starts an example and gives its port. */
async function start(name, args, env) {
  const child = spawn(join(resolve(binaries), name), args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  let output = '';
  const address = /http:\/\/127\.0\.0\.1:(\d+)[^\n]*\n/;
  while (!address.test(output)) output += (await once(child.stdout, 'data'))[0];
  return Number(address.exec(output)[1]);
}

const EMPTY_PAGE = '<!doctype html><title>empty</title>';

/** Forwards to `port`, and resets each connection 1.0 to 1.7 s after it began. The empty page is its own: a page of the
 *  example's would begin its channel with a message. */
async function resetting(port) {
  const live = new Set();
  let cuts = 0;
  const server = createServer((client) => {
    client.on('error', () => {});
    client.once('data', (head) => {
      if (head.toString('latin1').startsWith('GET /empty ')) {
        client.end(`HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: ${EMPTY_PAGE.length}\r\n\r\n${EMPTY_PAGE}`);
        return;
      }
      const peer = connect(port, '127.0.0.1');
      const end = () => {
        if (!live.delete(end)) return;
        clearTimeout(timer);
        client.resetAndDestroy();
        peer.resetAndDestroy();
      };
      const cut = () => { cuts += 1; end(); };
      const timer = setTimeout(cut, 1_000 + 700 * Math.random());
      live.add(end);
      peer.write(head);
      client.pipe(peer).pipe(client);
      for (const socket of [client, peer]) socket.on('error', end).on('close', end);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cuts: () => cuts,
    /** All at once. */
    cut: () => { cuts += live.size; [...live].forEach((end) => end()); },
  };
}

/** Waits until `test` is true in the page. */
async function until(page, test, argument) {
  const begin = Date.now();
  while (!await page.evaluate(test, argument)) {
    if (Date.now() - begin > LIMIT_MS) throw new Error(`not in time: ${test} ${JSON.stringify(argument)}`);
    await sleep(50);
  }
  return true;
}

const each = async (pages, test) => { await Promise.all(pages.map(test)); return true; };
const quoted = (all) => JSON.stringify(all).slice(0, 2_000);

// ---- the chat -------------------------------------------------------------------------------

async function chat(browser) {
  const url = `http://127.0.0.1:${await start('chat', [], { CHAT_ADDR: '127.0.0.1:0' })}/lanes`;
  const contexts = [];
  const enter = async (url, name) => {
    const context = await browser.newContext();
    contexts.push(context);
    const page = await context.open(url);
    if (name) {
      await page.evaluate((name) => localStorage.setItem('hyperlane-chat.name', name), name);
      await page.goto(url);
    }
    await until(page, () => window.__chat?.status === 'live');
    return page;
  };
  const [ada, bob] = [await enter(url, 'Ada'), await enter(url, 'Bob')];
  const follower = await enter(`${url}?follow`);
  const everyone = [ada, bob, follower];
  const say = (page, text) => page.evaluate((text) => {
    document.getElementById('text').value = text;
    document.getElementById('composer').requestSubmit();
  }, text);
  const bubbles = (page) => page.evaluate(() => [...document.querySelectorAll('.bubble')].map((bubble) => bubble.textContent));
  const shows = (page, text) => until(page, (text) =>
    [...document.querySelectorAll('#log .bubble')].some((bubble) => bubble.textContent === text), text);
  await check('chat: both members and the follower list the members', () => each(everyone, (page) => until(page, () =>
    [...document.querySelectorAll('#members .name')].map((name) => name.textContent).sort().join() === 'Ada,Bob')));
  const talk = ['Hello Bob, this is Ada.', 'Hello Ada, grüße!', 'How are you?'];
  for (const [i, text] of talk.entries()) {
    await say([ada, bob][i % 2], text);
    await check(`chat: "${text}" reaches the members and the follower`, () => each(everyone, (page) => shows(page, text)));
  }
  await check('chat: each message is there once, in order', async () => {
    const all = await Promise.all(everyone.map(bubbles));
    return all.every((texts) => texts.join() === talk.join()) || quoted(all);
  });
  await Promise.all(contexts.map((context) => context.close()));
}

// ---- channels -------------------------------------------------------------------------------

/** A plain WebSocket that comes back after a cut, as docs/channels.md says. */
const PLAIN = `function plain(path, onMessage, onReset) {
  let socket;
  const open = () => {
    socket = new WebSocket(new URL(path, location.href.replace(/^http/, 'ws')));
    socket.onmessage = ({ data }) => onMessage(data);
    socket.onclose = ({ code }) => {
      if (code === 4010) onReset();
      if (![1000, 1008, 4009].includes(code)) setTimeout(open, 500 * (1 + Math.random()));
    };
  };
  open();
}`;

/** Runs a client in a page. What it gets is in `got`; `positions` counts the events that say where a stream stands. */
const RUN = `([client, path]) => {
  Object.assign(window, { got: [], resets: 0, positions: 0 });
  const Native = window.EventSource;
  window.EventSource = class extends Native {
    constructor(...args) {
      super(...args);
      this.addEventListener('position', ({ data, lastEventId }) => { window.positions += data === lastEventId; });
    }
  };
  (0, eval)(${JSON.stringify(`${snippets}\n${PLAIN}\nObject.assign(window, { follow, connect, viaEvents, plain });`)});
  window[client](path, (data) => window.got.push(data), () => { window.resets += 1; });
}`;

async function channels(browser) {
  const port = await start('channels', ['127.0.0.1:0']);
  const proxy = await resetting(port);
  const context = await browser.newContext();
  // Cookies know no ports: this page is of the same session, and is not cut.
  const control = await context.open(`http://127.0.0.1:${port}/`);
  const post = (path, body) => control.evaluate(
    async ([path, body]) => (await fetch(path, { method: 'POST', body })).status, [path, body]);
  await check('channels: what the own request of a page sends arrives', () => until(control, () =>
    document.querySelector('#events li')?.textContent === 'hello Chashu'));
  await control.evaluate(() => stream.close());

  const clients = [
    { client: 'follow', path: '/sse', isStream: true },
    { client: 'follow', path: '/sse', isStream: true, note: ', another tab,' },
    { client: 'viaEvents', path: '/ws', isStream: true },
    { client: 'connect', path: '/counted' },
    { client: 'plain', path: '/ws' },
  ];
  for (const it of clients) {
    it.page = await context.open(`${proxy.url}/empty`);
    await it.page.evaluate(RUN, [it.client, it.path]);
  }
  const streams = clients.filter(({ isStream }) => isStream);
  await check('channels: a stream begins with its position', () => each(streams, ({ page }) => until(page, () => window.positions > 0)));

  // All are cut before their first message, and away when it is sent.
  proxy.cut();
  await post('/count', `${LAST}`);
  const has = ({ page }, text) => until(page, (text) => window.got.includes(text), text);
  await check(`channels: all count to ${LAST}`, () => each(clients, (it) => has(it, `${LAST}`)));
  for (const it of clients) {
    const what = `channels: ${it.client} of ${it.path}${it.note ?? ''} through resets every second`;
    const { got, resets } = await it.page.evaluate(() => ({ got: window.got, resets: window.resets }));
    if (it.client === 'plain') {
      await check(`${what}: nothing is missing`, () => {
        let next = 1;
        for (const number of got.map(Number)) {
          if (number > next) return `${next} is missing before ${number}`;
          if (number === next) next += 1;
        }
        return (next === LAST + 1 && resets === 0) || `${resets} resets, ${next} is missing`;
      });
    } else {
      await check(`${what}: each message once, in order`, () => {
        const wrong = got.findIndex((text, i) => text !== `${i + 1}`);
        return (wrong === -1 && got.length === LAST && resets === 0)
          || `${resets} resets, ${got.length} messages, after ${wrong}: ${quoted(got.slice(wrong, wrong + 5))}`;
      });
    }
  }

  // An empty message has an id as well.
  const followers = streams.filter(({ client }) => client === 'follow');
  await post('/sse/send', '');
  await each(followers, (it) => has(it, ''));
  proxy.cut();
  await post('/sse/send', 'after');
  await each(followers, (it) => has(it, 'after'));
  await check('channels: a cut after an empty message costs nothing, and brings nothing twice', async () => {
    const ends = await Promise.all(followers.map(({ page }) => page.evaluate((last) => window.got.slice(last), LAST)));
    return ends.every((end) => end.join('|') === '|after') || quoted(ends);
  });
  await check(`channels: the proxy has cut ${proxy.cuts()} connections`, () => proxy.cuts() >= 3 * clients.length);
  await context.close();
}

const { launch } = await import(new URL(`engines/${engine}.mjs`, import.meta.url));
let browser;
try {
  browser = await launch({ packages });
  await chat(browser);
  await channels(browser);
} catch (error) {
  await check('the run comes to its end', () => Promise.reject(error));
} finally {
  await browser?.close();
}
finish();
