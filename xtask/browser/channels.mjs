// Drives the channels of sessions with a real browser, through a proxy that cuts connections. What the pages run are the
// snippets of docs/channels.md, as they stand there.
//
//   node channels.mjs <directory of the examples' binaries> <directory with node_modules/playwright-core>
//
// CHROMIUM names the browser (default /usr/bin/chromium). The exit code is 0 only if every check passed.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { checks, children, chromiumOf, limit } from './support.mjs';

const LIMIT_MS = 30_000;
const [binaries, packages] = process.argv.slice(2);
const chromium = chromiumOf(packages);
const doc = readFileSync(new URL('../../docs/channels.md', import.meta.url), 'utf8');
const snippets = [...doc.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code).join('\n');
limit(240);

const { check, finish } = checks('channels');

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
  await context.addInitScript(`${snippets}\nObject.assign(window, { follow, connect, viaEvents });`);
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
  window.channel = window[snippet](path, (data) => window.got.push(data), () => { window.resets += 1; });
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
  await check('20 reloads in a row: each is answered, and gets its message', async () => {
    for (let i = 0; i < 20; i++) {
      await page.reload();
      await shows(page, '#events', 'hello Chashu');
    }
    return true;
  });
  await check('each message once', async () => {
    await post(page, '/sse/send', 'fence');
    await shows(page, '#events', 'fence');
    const all = await texts(page, '#events');
    return all.join() === 'hello Chashu,fence' || all;
  });

  // An unrelated request of the same browser reaches all of its tabs, and nothing of another browser.
  const tabs = [page, await open(own, proxy.url)];
  const stranger = await open(await newContext(), proxy.url);
  const unrelated = await open(own, `${proxy.url}/favicon.ico`);
  for (const tab of [...tabs, stranger]) {
    await shows(tab, '#events', 'hello Chashu');
    await tab.evaluate(() => new Promise((done) => {
      window.got = [];
      window.resets = 0;
      window.socket = new WebSocket(location.href.replace(/^http/, 'ws') + 'ws');
      window.socket.onopen = done;
      window.socket.onmessage = async ({ data }) => window.got.push(typeof data === 'string' ? data : await data.text());
    }));
  }
  await post(unrelated, '/sse/send', 'hello Nori');
  await post(unrelated, '/ws/send', 'hello chashu');
  await post(stranger, '/sse/send', 'hello stranger');
  await post(stranger, '/ws/send', 'hello stranger');
  await check('ctx.sse() of an unrelated request reaches both tabs', async () =>
    await shows(tabs[0], '#events', 'hello Nori') && shows(tabs[1], '#events', 'hello Nori'));
  await check('ctx.ws() of an unrelated request reaches both tabs', async () => {
    for (const tab of tabs) await has(tab, 'hello chashu');
    return true;
  });
  await check('and no other browser', async () => {
    await shows(stranger, '#events', 'hello stranger');
    await has(stranger, 'hello stranger');
    const [events, messages] = [(await texts(stranger, '#events')).join(), (await got(stranger)).got];
    return (events === 'hello Chashu,hello stranger' && messages === 'hello stranger') || { events, messages };
  });
  await check('what a tab says is received by an unrelated request', async () => {
    await tabs[1].evaluate(() => window.socket.send('hello server'));
    const answer = await unrelated.evaluate(async () => (await fetch('/ws/next')).text());
    return answer === 'message received: hello server\n' || answer;
  });

  // The snippets count to 2000 while their connections are cut again and again.
  const counters = { connect: '/counted', follow: '/sse', viaEvents: '/ws' };
  const counting = {};
  for (const tab of [...tabs, stranger]) await tab.evaluate(() => { stream.close(); socket.close(); });
  for (const snippet of Object.keys(counters)) {
    counting[snippet] = await open(own, `${proxy.url}/favicon.ico`);
    await run(counting[snippet], snippet, counters[snippet]);
  }
  // Another tab that counts beside the first one.
  counting['connect, another tab'] = tabs[1];
  await run(tabs[1], 'connect', '/counted');
  const ready = Date.now();
  for (const tab of Object.values(counting)) {
    // Whoever has got something is connected.
    while ((await got(tab)).got === '' && Date.now() - ready < LIMIT_MS) {
      await post(unrelated, '/ws/send', 'ready');
      await post(unrelated, '/sse/send', 'ready');
    }
  }
  for (const tab of Object.values(counting)) {
    await post(unrelated, '/ws/send', 'steady');
    await post(unrelated, '/sse/send', 'steady');
    await has(tab, 'steady');
  }
  await post(unrelated, '/count', '2000');
  const cuts = Object.fromEntries(Object.values(counters).map((path) => [path, 0]));
  const isDone = async () => (await Promise.all(Object.values(counting).map((tab) => tab.evaluate(() => window.got.includes('2000')))))
    .every(Boolean);
  const begin = Date.now();
  for (let round = 0; !await isDone() && Date.now() - begin < 3 * LIMIT_MS; round++) {
    for (const path of Object.keys(cuts)) {
      if (round === 2 || Math.random() < 0.15) cuts[path] += proxy.cut(`${path} `) + proxy.cut(`${path}?`);
    }
    await new Promise((done) => { setTimeout(done, 100); });
  }
  for (const [snippet, tab] of Object.entries(counting)) {
    const path = counters[snippet.split(',')[0]];
    await check(`${snippet}: counts to 2000 through ${cuts[path]} cuts of ${path}, nothing missing and nothing twice`, async () => {
      const all = await got(tab);
      const counted = all.got.split(',').filter((text) => /^\d+$/.test(text)).join();
      if (cuts[path] === 0) return 'nothing was cut';
      return (counted === numbers(2000) && all.resets === 0) || `${all.resets} resets: ${all.got}`.slice(0, 2_000);
    });
  }
  await check('what is posted beside an event stream is received', async () => {
    const status = await counting.viaEvents.evaluate(async () => (await window.channel.send('posted')).status);
    const answer = await unrelated.evaluate(async () => (await fetch('/ws/next')).text());
    return (status === 204 && answer === 'message received: posted\n') || { status, answer };
  });
  await Promise.all(browser.contexts().map((context) => context.close()));

  // The example of runs: answers that outlive the requests that have started them.
  {
    const { port } = await start('llm_stream');
    const proxy = await cutting(port);
    const context = await newContext();
    // What the event streams of a page bring, beside what the page makes of it.
    await context.addInitScript(() => {
      window.streamed = '';
      window.EventSource = class extends EventSource {
        constructor(path) {
          super(path);
          window.source = this;
          this.addEventListener('message', ({ data }) => { window.streamed += JSON.parse(data); });
        }
      };
    });
    const ask = async (page, question) => {
      await page.locator('[name=question]').fill(question);
      const [tab] = await Promise.all([context.waitForEvent('page'), page.getByRole('button', { name: 'Ask' }).click()]);
      return tab;
    };
    const state = (page, text) => page.locator('#state', { hasText: text }).waitFor();
    const answer = (page) => page.locator('#answer').textContent();
    const grows = async (page) => page.waitForFunction(
      (before) => document.getElementById('answer').textContent.length > before + 20, (await answer(page)).length);
    const path = (page) => new URL(page.url()).pathname;

    const first = await open(context, proxy.url);
    const tabs = [await ask(first, 'one?'), await ask(first, 'two?')];
    for (const tab of tabs) await grows(tab);
    let cuts = 0;
    const cutBoth = () => { for (const tab of tabs.slice(0, 2)) cuts += proxy.cut(`${path(tab)}/tokens`); };
    cutBoth();
    // A reload of one, and another tab that shows the other and is never cut.
    await tabs[0].reload();
    tabs.push(await open(context, `http://127.0.0.1:${port}${path(tabs[1])}`));
    for (const tab of tabs) await grows(tab);
    const over = Promise.all(tabs.map((tab) => state(tab, 'over')));
    for (let isOver = false; !isOver;) {
      cutBoth();
      isOver = await Promise.race([over.then(() => true), new Promise((done) => { setTimeout(done, 700, false); })]);
    }
    await check(`llm_stream: two runs in two tabs through ${cuts} cuts never mix`, async () => {
      const shown = await Promise.all(tabs.map((tab) => tab.evaluate(() => ({ streamed: window.streamed, shown: document.getElementById('answer').textContent }))));
      const whole = (question) => shown[0].shown.replace('one?', question);
      const isRight = shown[0].shown.startsWith('You ask: one? A named') && shown[0].shown.endsWith('never mix.')
        && ['one?', 'two?', 'two?'].every((question, at) => shown[at].shown === whole(question)
          // A tab that is away at the end gets the end from the stored answer.
          && whole(question).startsWith(shown[at].streamed) && shown[at].streamed.length > 100)
        && shown[2].streamed === whole('two?');
      return (isRight && cuts >= 4) || { cuts, shown };
    });
    await check('llm_stream: after the end of a run, 204 stops the browser', async () => {
      const states = await Promise.all(tabs.map((tab) => tab.evaluate(() => window.source.readyState)));
      const status = await tabs[0].evaluate(async (path) => (await fetch(`${path}/tokens`)).status, path(tabs[0]));
      return (states.every((state) => state === 2) && status === 204) || { states, status };
    });
    await tabs[1].reload();
    await check('llm_stream: a page of a run that is over shows the answer', async () => {
      await state(tabs[1], 'over');
      const [again, before] = [await answer(tabs[1]), await answer(tabs[2])];
      return (again === before && again.includes('two?')) || { again, before };
    });
    const stopped = await ask(first, 'three?');
    const beside = await ask(first, 'four?');
    await grows(stopped);
    await stopped.getByRole('button', { name: 'Stop' }).click();
    await check('llm_stream: a run stops, and the run beside it goes on', async () => {
      await state(stopped, 'over');
      await state(beside, 'over');
      const [short, long] = [await answer(stopped), await answer(beside)];
      return (long.endsWith('never mix.') && long.replace('four?', 'three?').startsWith(short) && short.length < long.length) || { short, long };
    });
    await Promise.all(browser.contexts().map((context) => context.close()));
  }

  // The example of notifications.
  {
    const { port } = await start('notifications');
    const url = `http://127.0.0.1:${port}`;
    const [ann, bob] = [await newContext(), await newContext()];
    const login = async (context, name) => {
      const page = await open(context, url);
      await shows(page, '#notices', 'welcome, log in');
      await page.locator('form[action="/login"] input').fill(name);
      await page.getByRole('button', { name: 'Log in' }).click();
      await page.waitForURL(`${url}/`);
      await shows(page, '#notices', `welcome, ${name}`);
      return page;
    };
    const tabs = [await login(ann, 'ann')];
    tabs.push(await open(ann, url));
    const bobs = await login(bob, 'bob');
    await shows(tabs[1], '#notices', 'welcome, ann');
    const notify = async (user, text) => {
      await bobs.locator('#notify [name=user]').fill(user);
      await bobs.locator('#notify [name=text]').fill(text);
      await bobs.getByRole('button', { name: 'Notify' }).click();
      await bobs.waitForFunction(() => document.getElementById('answer').value.startsWith('1 reached'));
    };
    await notify('ann', 'hello ann');
    await check('notifications: all tabs of the user get it', async () =>
      await shows(tabs[0], '#notices', 'hello ann') && shows(tabs[1], '#notices', 'hello ann'));
    await notify('bob', 'hello bob');
    await check('notifications: and nobody else', async () => {
      await shows(bobs, '#notices', 'hello bob');
      const all = await texts(bobs, '#notices');
      return !all.includes('hello ann') || all;
    });
  }
} catch (error) {
  await check('the run comes to its end', () => Promise.reject(error));
} finally {
  await browser.close();
}
finish();
