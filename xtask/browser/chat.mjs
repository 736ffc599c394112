// Drives the chat example with real browsers: two members, a read-only follower, a server that dies.
//
//   node chat.mjs <chat binary> [--playwright DIR] [--shots DIR]
//
// `playwright-core` is looked up in DIR/node_modules, or without --playwright beside this file and
// in NODE_PATH. CHROMIUM names the browser (default /usr/bin/chromium); none is downloaded.
// The binary is started with CHAT_ADDR=127.0.0.1:0 and must print a line with http://127.0.0.1:PORT.
// Prints one line per check; the exit code is 0 only if every check passed.

import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const LIMIT_MS = 30_000;
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { playwright: { type: 'string' }, shots: { type: 'string' } },
});
if (positionals.length !== 1) {
  console.error('usage: node chat.mjs <chat binary> [--playwright DIR] [--shots DIR]');
  process.exit(2);
}
const binary = resolve(positionals[0]);
const require = createRequire(options.playwright ? join(resolve(options.playwright), 'package.json') : import.meta.url);
const { chromium } = require('playwright-core');

// ---- checks ---------------------------------------------------------------------------------

let passed = 0;
let failed = 0;
function report(what, good, detail = '') {
  if (good) passed += 1;
  else failed += 1;
  console.log(good ? `ok - ${what}` : `not ok - ${what}${detail && `\n    ${detail}`}`);
}

/** Passes if `test` returns true, fails if it returns anything else or throws. */
async function check(what, test) {
  try {
    const result = await test();
    report(what, result === true, `got ${JSON.stringify(result)}`);
  } catch (error) {
    report(what, false, String(error.message ?? error).split('\n')[0]);
  }
}

// ---- the server -----------------------------------------------------------------------------

const children = new Set();

/** Starts the binary and waits for the line that tells its address. */
function startServer(address) {
  const child = spawn(binary, [], { env: { ...process.env, CHAT_ADDR: address }, stdio: ['ignore', 'pipe', 'pipe'] });
  children.add(child);
  let output = '';
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`the server printed no address:\n${output}`)), LIMIT_MS);
    const read = (chunk) => {
      output = (output + chunk).slice(-8_000);
      // Only whole lines, or a port number could be cut in two.
      const port = /http:\/\/127\.0\.0\.1:(\d+)[^\n]*\n/.exec(output)?.[1];
      if (!port) return;
      clearTimeout(timer);
      done({ child, port: Number(port), url: `http://127.0.0.1:${port}` });
    };
    child.stdout.setEncoding('utf8').on('data', read);
    child.stderr.setEncoding('utf8').on('data', read);
    child.once('error', fail);
    child.once('exit', (code, signal) => {
      children.delete(child);
      clearTimeout(timer);
      fail(new Error(`the server ended (${signal ?? code}):\n${output}`)); // of no effect once it is up
    });
  });
}

/** SIGKILL: the peers get neither a close frame nor the end of a chunked body. */
function killServer({ child }) {
  return new Promise((done) => {
    if (child.exitCode !== null || child.signalCode !== null) return done();
    child.once('exit', done);
    child.kill('SIGKILL');
  });
}

process.once('exit', () => { for (const child of children) child.kill('SIGKILL'); });
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

// ---- the pages ------------------------------------------------------------------------------

const consoleErrors = [];
let serverIsDown = false;
// What the browser itself says about a server that is away; anything else is an error of the page.
const NETWORK_FAILURE = /net::ERR_|WebSocket connection to .* failed/;

async function openPage(browser, url, name) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, locale: 'en-GB' });
  if (name) {
    await context.addInitScript((value) => {
      localStorage.getItem('hyperlane-chat.name') ?? localStorage.setItem('hyperlane-chat.name', value);
    }, name);
  }
  const page = await context.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  const note = (text) => {
    if (!(serverIsDown && NETWORK_FAILURE.test(text))) consoleErrors.push(`${name ?? 'follower'}: ${text}`);
  };
  page.on('console', (message) => { if (message.type() === 'error') note(message.text()); });
  page.on('pageerror', (error) => note(String(error)));
  await page.goto(url);
  return page;
}

/** Waits until `test(argument)` is true in the page. */
const until = async (page, test, argument) => {
  await page.waitForFunction(test, argument, { polling: 50, timeout: LIMIT_MS });
  return true;
};
const status = (page, ...wanted) => until(page, (list) => list.includes(window.__chat.status), wanted);
const texts = (page, selector) => page.locator(selector).allTextContents();
const memberNames = (page) => texts(page, '#members .name');
const membersAre = (page, ...names) => until(page, (wanted) => JSON.stringify(wanted)
  === JSON.stringify([...document.querySelectorAll('#members .name')].map((n) => n.textContent).sort()), names.sort());
const notice = (page, text) => until(page, (wanted) =>
  [...document.querySelectorAll('#log .notice')].some((n) => n.textContent === wanted), text);
const hasNotice = async (page, text) => (await texts(page, '#log .notice')).includes(text);
const shows = (page, text) => until(page, (wanted) =>
  [...document.querySelectorAll('#log .bubble')].some((n) => n.textContent === wanted), text);
// Waiting messages count too: one that stays there after its echo is a duplicate for the reader.
const count = async (page, text) => (await texts(page, '.bubble')).filter((t) => t === text).length;
const counts = (pages, text) => Promise.all(pages.map((page) => count(page, text)));
const each = async (pages, test) => { await Promise.all(pages.map(test)); return true; };

async function say(page, text) {
  await page.getByRole('textbox', { name: /^Message/ }).fill(text);
  await page.keyboard.press('Enter');
}

/** Says something and waits until all have it: what was sent before has then arrived as well. */
let fences = 0;
async function fence(speaker, pages) {
  const text = `fence ${fences += 1}`;
  await say(speaker, text);
  await each(pages, (page) => shows(page, text));
}

async function screenshots(page, name) {
  if (!options.shots) return;
  mkdirSync(options.shots, { recursive: true });
  const shot = async (suffix) => {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.screenshot({ path: join(options.shots, `${name}-${suffix}-${colorScheme}.png`) });
    }
  };
  await shot('wide');
  await page.setViewportSize({ width: 375, height: 812 });
  await shot('phone');
  await page.locator('#menu').click();
  await shot('drawer');
  await page.keyboard.press('Escape');
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
}

// ---- the story ------------------------------------------------------------------------------

async function run(browser) {
  let server = await startServer('127.0.0.1:0');
  const room = `${server.url}/lanes`;

  const ada = await openPage(browser, room, 'Ada');
  await check('Ada gets a connection', () => status(ada, 'live'));
  const follower = await openPage(browser, `${room}?follow`);
  await check('the follower gets an event stream', () => status(follower, 'live'));
  await check('the follower has no field to write in', async () => !await follower.locator('#text').isVisible());
  const elsewhere = await openPage(browser, `${server.url}/elsewhere`, 'Eve');
  await status(elsewhere, 'live');
  let bob = await openPage(browser, room, 'Bob');
  await check('Bob gets a connection', () => status(bob, 'live'));

  const everyone = () => [ada, bob, follower];
  const both = () => [ada, bob];

  await check('Ada, Bob and the follower list the same members',
    () => each(everyone(), (page) => membersAre(page, 'Ada', 'Bob')));
  await check('the follower is not a member', async () => (await memberNames(ada)).length === 2);
  await check('Ada sees that Bob joined', () => notice(ada, 'Bob joined'));
  await check('the follower sees that Bob joined', () => notice(follower, 'Bob joined'));

  const hello = 'Hello Bob, this is Ada.';
  await say(ada, hello);
  await check('a message reaches everyone', () => each(everyone(), (page) => shows(page, hello)));
  await fence(bob, everyone());
  await check('it is there exactly once', async () => String(await counts(everyone(), hello)) === '1,1,1');
  await check('Bob does not see that he joined himself', async () => !await hasNotice(bob, 'Bob joined'));
  await check('one\'s own message is on one\'s own side only', async () => {
    const own = (page) => page.locator('.group.own .bubble', { hasText: hello }).count();
    return await own(ada) === 1 && await own(bob) === 0 && await own(follower) === 0;
  });
  await check('the author is named', async () => (await bob.locator('.group', { hasText: hello }).locator('.by bdi').textContent()) === 'Ada');

  const markup = '<img src=x onerror="window.__pwned = true"><b>bold</b> & "quoted"';
  await say(bob, markup);
  await check('markup is shown literally', () => each(everyone(), (page) => shows(page, markup)));
  await check('markup makes no elements and runs no code', async () => {
    const found = await Promise.all(everyone().map((page) => page.evaluate(
      () => document.querySelectorAll('#log img, #log b').length === 0 && !('__pwned' in window))));
    return found.every(Boolean);
  });
  const unicode = 'Grüße aus Zürich 🎉👩🏽‍💻 — 日本語, العربية, 𝒳\u0301';
  await say(ada, unicode);
  await check('unicode and emoji survive', () => each(everyone(), (page) => shows(page, unicode)));
  await ada.getByRole('textbox', { name: /^Message/ }).fill('two');
  await ada.keyboard.press('Shift+Enter');
  await ada.keyboard.type('lines');
  await ada.keyboard.press('Enter');
  await check('Shift+Enter starts a new line', () => each(everyone(), (page) => shows(page, 'two\nlines')));

  await bob.getByLabel('Your name').fill('x'.repeat(33));
  await bob.keyboard.press('Enter');
  await check('a name of 33 characters is refused in the page',
    async () => await bob.locator('#nameProblem').isVisible() && (await memberNames(bob)).includes('Bob'));
  await bob.getByLabel('Your name').fill('Robert');
  await bob.keyboard.press('Enter');
  await check('a new name reaches everyone', () => each(everyone(), (page) => membersAre(page, 'Ada', 'Robert')));
  await check('the change of name is told', () => notice(ada, 'Bob is now Robert'));
  await bob.getByLabel('Your name').fill('Bob');
  await bob.keyboard.press('Enter');
  await each(everyone(), (page) => membersAre(page, 'Ada', 'Bob'));

  await say(elsewhere, 'only elsewhere');
  await shows(elsewhere, 'only elsewhere');
  await fence(ada, everyone());
  await check('another room hears nothing',
    async () => (await texts(elsewhere, '.bubble')).join() === 'only elsewhere' && (await memberNames(elsewhere)).join() === 'Eve');
  await check('and is not heard', async () => String(await counts(everyone(), 'only elsewhere')) === '0,0,0');
  await elsewhere.context().close();

  await bob.context().close();
  await check('Ada sees that Bob left', () => notice(ada, 'Bob left'));
  await check('the follower sees that Bob left', () => notice(follower, 'Bob left'));
  await check('the list of members shrinks', () => each([ada, follower], (page) => membersAre(page, 'Ada')));

  bob = await openPage(browser, room, 'Bob');
  await check('Bob comes back and finds the history', () => shows(bob, hello));
  await status(bob, 'live');
  await each(both(), (page) => membersAre(page, 'Ada', 'Bob'));
  await fence(bob, everyone());
  await bob.reload();
  await check('after a reload own messages are still on the own side',
    () => until(bob, (text) => [...document.querySelectorAll('.group.own .bubble')].some((n) => n.textContent === text), `fence ${fences}`));
  await status(bob, 'live');
  await each(both(), (page) => membersAre(page, 'Ada', 'Bob'));

  // The connection breaks while the server lives on: the new welcome brings the known history again.
  const before = await ada.locator('.bubble').count();
  // In one step, because with a random delay the page may be back before the next step.
  const cut = await ada.evaluate(() => {
    window.dispatchEvent(new Event('offline'));
    document.getElementById('text').value = 'typed without a line';
    document.getElementById('composer').requestSubmit();
    return { status: window.__chat.status, received: window.__chat.received, waiting: document.querySelectorAll('#pending .bubble').length };
  });
  await check('a page that lost its line says so and keeps what is typed', () => (cut.status === 'reconnecting' && cut.waiting === 1) || cut);
  await check('it comes back by itself', () => until(ada, (seen) => window.__chat.received > seen && window.__chat.status === 'live', cut.received));
  await check('what was typed meanwhile arrives', () => each(everyone(), (page) => shows(page, 'typed without a line')));
  await check('known history is not shown twice', async () => await ada.locator('.bubble').count() === before + 1);
  await each(both(), (page) => membersAre(page, 'Ada', 'Bob'));

  await check('at 360 pixels nothing is cut off at the side', async () => {
    await bob.setViewportSize({ width: 360, height: 640 });
    return until(bob, () => [document.documentElement, document.getElementById('scroll')]
      .every((box) => innerWidth === 360 && box.scrollWidth <= box.clientWidth && box.clientWidth <= 360));
  });
  await check('there the drawer opens, takes the focus and gives it back', async () => {
    await bob.locator('#menu').click();
    await bob.getByLabel('Your name').waitFor();
    const inside = await bob.evaluate(() => document.activeElement.closest('#side') !== null);
    await bob.keyboard.press('Escape');
    await bob.getByLabel('Your name').waitFor({ state: 'hidden' });
    const outside = await bob.evaluate(() => document.activeElement.id === 'menu');
    await bob.setViewportSize({ width: 1280, height: 800 });
    return (inside && outside) || { inside, outside };
  });
  await check('light and dark differ', async () => {
    const colours = [];
    for (const colorScheme of ['light', 'dark']) {
      await bob.emulateMedia({ colorScheme });
      colours.push(await bob.evaluate(() => getComputedStyle(document.body).backgroundColor));
    }
    await bob.emulateMedia({ colorScheme: null });
    return colours[0] !== colours[1];
  });
  await check('a reader who scrolled up stays there and is told of new messages', async () => {
    await bob.setViewportSize({ width: 1280, height: 420 });
    // Again until it holds: the page, too, scrolls (to its end) when it becomes smaller.
    await until(bob, () => {
      document.getElementById('scroll').scrollTop = 0;
      return !document.getElementById('jump').hidden;
    });
    await say(ada, 'news from below');
    await shows(bob, 'news from below');
    const stayed = await bob.evaluate(() => document.getElementById('scroll').scrollTop) === 0;
    const told = await bob.locator('#jump').textContent();
    await bob.locator('#jump').click();
    await bob.locator('#jump').waitFor({ state: 'hidden' });
    await bob.setViewportSize({ width: 1280, height: 800 });
    return (stayed && told.startsWith('1 new message')) || { stayed, told };
  });
  await screenshots(ada, 'chat');
  await screenshots(follower, 'follow');

  // The server is killed and started again on the same port.
  serverIsDown = true;
  await killServer(server);
  await check('both pages show that they are reconnecting', () => each(both(), (page) => status(page, 'reconnecting')));
  await check('the status pill says so', async () => /^Reconnecting/.test(await ada.locator('#pill').textContent()));
  await check('the follower notices it too', () => status(follower, 'reconnecting'));
  const queued = 'written while the server was away';
  await say(ada, queued);
  await check('a message typed meanwhile waits in the page',
    async () => (await texts(ada, '#pending .bubble')).join() === queued && await count(bob, queued) === 0);
  if (options.shots) {
    await ada.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
    await ada.setViewportSize({ width: 375, height: 812 });
    await until(ada, () => getComputedStyle(document.querySelector('#pending .caption')).opacity === '1');
    await ada.screenshot({ path: join(options.shots, 'chat-reconnecting-phone-light.png') });
    await ada.setViewportSize({ width: 1280, height: 800 });
    await ada.emulateMedia({ colorScheme: null, reducedMotion: null });
  }
  server = await startServer(`127.0.0.1:${server.port}`);
  await check('the server is back on its port', () => room.startsWith(`${server.url}/`));
  await check('both pages reconnect by themselves', () => each(both(), (page) => status(page, 'live')));
  await check('the follower reconnects by itself', () => status(follower, 'live'));
  await check('the members are complete again', () => each(everyone(), (page) => membersAre(page, 'Ada', 'Bob')));
  serverIsDown = false;
  await check('the waiting message reaches everyone', () => each(everyone(), (page) => shows(page, queued)));
  await fence(ada, everyone());
  await fence(bob, everyone());
  await check('it is there exactly once', async () => String(await counts(everyone(), queued)) === '1,1,1');
  await check('nothing waits any more', async () => await ada.locator('#pending .bubble').count() === 0);
  await check('older messages are still there once', async () => (await counts([ada, follower], hello)).join() === '1,1');

  // A server that refuses on purpose is played by the test itself.
  const refused = await browser.newContext();
  let dials = 0;
  await refused.routeWebSocket(/\/socket\?/, (socket) => {
    dials += 1;
    socket.close({ code: 4003, reason: 'This room is closed' });
  });
  const stranger = await refused.newPage();
  await stranger.goto(room);
  await check('a refusal shows its reason', () => stranger.getByText('This room is closed').waitFor({ timeout: LIMIT_MS }).then(() => true));
  await check('and is not answered by dialling again', async () => {
    await stranger.evaluate(() => {
      window.dispatchEvent(new Event('online'));
      document.dispatchEvent(new Event('visibilitychange'));
    });
    return await stranger.evaluate(() => window.__chat.status) === 'closed' && dials === 1;
  });
  await refused.close();

  await check('the console has no errors', () => consoleErrors.length === 0 || consoleErrors);
  await Promise.all(browser.contexts().map((context) => context.close()));
  await killServer(server);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--headless', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
  ],
});
try {
  await run(browser);
} catch (error) {
  report('the run comes to its end', false, String(error.stack ?? error));
  if (consoleErrors.length) console.log(`    console: ${consoleErrors.join('\n    ')}`);
} finally {
  await browser.close();
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
