// Drives `examples/cross_site` with a real browser and two sites: pages of http://a.test use a server at https://b.test.
// A proxy ends TLS, since browsers take a cookie for other sites over TLS alone.
//
//   node sites.mjs <the example's binary> <directory with node_modules/playwright-core>
//
// CHROMIUM names the browser (default /usr/bin/chromium). The exit code is 0 only if every check passed.

import { spawn } from 'node:child_process';
import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer, request } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { checks, children, chromiumOf, limit } from './support.mjs';

const [binary, packages] = process.argv.slice(2);
const chromium = chromiumOf(packages);
limit(120);

const { check, finish } = checks('sites');

/** A key and a certificate for `host` that it has signed itself: the browser is told to take any. */
function certificate(host) {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const der = (tag, ...parts) => {
    const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
    const { length: size } = body;
    const length = size < 128 ? [size] : size < 256 ? [0x81, size] : [0x82, size >> 8, size & 255];
    return Buffer.concat([Buffer.from([tag, ...length]), body]);
  };
  const oid = (hex) => der(0x06, Buffer.from(hex, 'hex'));
  const ecdsaWithSha256 = der(0x30, oid('2a8648ce3d040302'));
  const name = der(0x30, der(0x31, der(0x30, oid('550403'), der(0x0c, host))));
  const validity = der(0x30, der(0x17, '200101000000Z'), der(0x17, '491231235959Z'));
  const alternativeName = der(0x30, oid('551d11'), der(0x04, der(0x30, der(0x82, host))));
  const signed = der(0x30, der(0xa0, der(0x02, [2])), der(0x02, [1]), ecdsaWithSha256, name, validity, name,
    publicKey.export({ type: 'spki', format: 'der' }), der(0xa3, der(0x30, alternativeName)));
  const cert = der(0x30, signed, ecdsaWithSha256, der(0x03, [0], sign('sha256', signed, privateKey)));
  const pem = `-----BEGIN CERTIFICATE-----\n${cert.toString('base64').match(/.{1,64}/g).join('\n')}\n-----END CERTIFICATE-----\n`;
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }), cert: pem };
}

async function listen(server) {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return server.address().port;
}

/** Starts the example for the pages of an origin and gives its port. */
async function start(origin) {
  const child = spawn(binary, ['127.0.0.1:0', origin], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  let output = '';
  while (!/:(\d+)\n/.test(output)) output += (await once(child.stdout, 'data'))[0];
  return Number(/:(\d+)\n/.exec(output)[1]);
}

/** Forwards what comes by TLS to `port`, as a proxy does that passes the Host on and says that there was TLS. */
function tlsInFrontOf(port) {
  return createTlsServer(certificate('b.test'), (asked, answer) => {
    const headers = { ...asked.headers, 'x-forwarded-for': asked.socket.remoteAddress, 'x-forwarded-proto': 'https' };
    const onward = request({ port, host: '127.0.0.1', method: asked.method, path: asked.url, headers }, (got) => {
      answer.writeHead(got.statusCode, got.rawHeaders);
      // The head goes out at once, as with any proxy that does not buffer event streams.
      answer.flushHeaders();
      got.pipe(answer);
    });
    onward.on('error', () => answer.destroy());
    answer.on('close', () => onward.destroy());
    asked.pipe(onward);
  });
}

const pages = await listen(createServer((_, answer) => {
  answer.setHeader('content-type', 'text/html');
  answer.end('<!doctype html><title>a page</title>');
}));
const port = await start(`http://a.test:${pages}`);
const url = `https://b.test:${await listen(tlsInFrontOf(port))}/channel`;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--host-resolver-rules=MAP a.test 127.0.0.1,MAP b.test 127.0.0.1,MAP evil.test 127.0.0.1'],
});

/** What the page runs. */
const tools = `
  window.got = [];
  window.say = async (url, body, headers = {}) => {
    const answer = await fetch(url, { method: 'POST', credentials: 'include', headers, body });
    return { status: answer.status, text: await answer.text() };
  };
  window.follow = (url) => new Promise((done) => {
    window.events = new EventSource(url, { withCredentials: true });
    events.onmessage = ({ data }) => got.push(data);
    events.onopen = () => done('open');
    events.onerror = () => done('error');
  });`;
const key = { 'x-key': 'open sesame', 'content-type': 'application/json' };

try {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  await context.addInitScript(tools);
  const open = async (host) => {
    const page = await context.newPage();
    await page.goto(`http://${host}:${pages}/`);
    return page;
  };
  const has = (page, text) => page.waitForFunction((text) => window.got.includes(text), text).then(() => true);
  const page = await open('a.test');

  await check('a page of an allowed origin reads the JSON of a 401 that middleware rendered', async () => {
    const answer = await page.evaluate((url) => say(url, 'hello'), url);
    return (answer.status === 401 && JSON.parse(answer.text).error === 'a key is missing') || answer;
  });
  await check('it opens an EventSource with credentials', async () => {
    const state = await page.evaluate((url) => follow(url), url);
    return state === 'open' || state;
  });
  await check('the session is a cookie that the page sends across sites', async () => {
    const cookies = (await context.cookies()).filter(({ name }) => name === '__Host-session');
    return (cookies.length === 1 && cookies[0].sameSite === 'None' && cookies[0].secure && cookies[0].httpOnly) || cookies;
  });
  await check('it posts to the same session, after a preflight, and the stream answers', async () => {
    const answer = await page.evaluate(([url, key]) => say(url, 'hello', key), [url, key]);
    return answer.status === 204 ? has(page, 'you said hello') : answer;
  });
  await check('it reads other refusals as well', async () => {
    const status = await page.evaluate(async (url) => (await fetch(url, { method: 'PUT' }).catch(() => ({}))).status ?? 'blocked', url);
    const get = await page.evaluate(async (url) => (await fetch(url, { credentials: 'include' })).status, url);
    return (status === 'blocked' && get === 426) || { status, get };
  });

  const evil = await open('evil.test');
  await check('a page of another origin gets neither events nor answers', async () => {
    const state = await evil.evaluate((url) => follow(url), url);
    const answer = await evil.evaluate(([url, key]) => say(url, 'hello', key).catch(() => 'blocked'), [url, key]);
    return (state === 'error' && answer === 'blocked') || { state, answer };
  });

  await check('no element and no link of a page takes what waits for its stream', async () => {
    const events = new URL('/events', url).href;
    // A page of the server's own, for which a message waits.
    const own = await context.newPage();
    await own.goto(new URL('/remind', url).href);
    const load = (page) => page.evaluate((url) => new Promise((done) => {
      const image = new Image();
      image.onerror = done;
      image.src = url;
    }), events);
    for (const from of [evil, page, own]) await load(from);
    const [answer] = await Promise.all([
      evil.waitForResponse(events),
      evil.evaluate((url) => { location.href = url; }, events),
    ]);
    const cookie = (await answer.request().allHeaders()).cookie ?? '';
    const state = await own.evaluate((url) => follow(url), events);
    return (answer.status() === 403 && cookie.includes('__Host-session=') && state === 'open')
      ? has(own, 'remember') : { answer: answer.status(), cookie, state };
  });
  // ---------------------------------------------------------------- the policies of scopes

  // `evil` has followed a link to the server.
  const stranger = await open('evil.test');
  const api = (path) => new URL(path, url).href;
  /** Fetches from a page and gives the status, the text and a field of the answer, or `blocked`. */
  const ask = (page, path, options = {}) => page.evaluate(([url, options]) => fetch(url, options)
    .then(async (answer) => [answer.status, await answer.text(), answer.headers.get('x-total'), answer.headers.get('x-hidden')])
    .catch(() => 'blocked'), [api(path), options]);
  const same = (got, wanted) => JSON.stringify(got) === JSON.stringify(wanted) || got;
  const include = { credentials: 'include' };

  await check('a page of an allowed origin reads an answer and its exposed fields alone', async () =>
    same(await ask(page, '/api/orders', include), [200, 'orders', '0', null]));
  await check('it sends another method and field after a preflight', async () =>
    same(await ask(page, '/api/orders', { ...include, method: 'PUT', headers: { 'x-key': 'a' } }), [200, 'ordered', null, null]));
  await check('it sends an unsafe request with the cookie of the session', async () =>
    same(await ask(page, '/api/orders', { ...include, method: 'POST' }), [200, 'ordered', null, null]));
  await check('it reads a 404, a 405 and an error of a handler', async () => {
    const got = [];
    for (const [path, method] of [['/api/missing', 'GET'], ['/api/orders', 'DELETE'], ['/api/sold-out', 'GET']]) {
      got.push((await ask(page, path, { ...include, method, headers: { 'x-key': 'a' } }))[0]);
    }
    return same(got, [404, 405, 422]);
  });
  await check('it follows a redirect within the scope', async () =>
    same((await ask(page, '/api/moved', include)).slice(0, 2), [200, 'orders']));
  await check('it opens the event stream of the scope', async () =>
    same(await page.evaluate((url) => follow(url), api('/api/events')), 'open'));
  await check('a page of another origin reads nothing there, and its preflight is refused', async () => {
    const got = [];
    for (const options of [{}, include, { method: 'PUT' }, { method: 'DELETE' }]) {
      got.push(await ask(stranger, '/api/orders', options));
    }
    got.push(await ask(stranger, '/api/missing'));
    const total = (await ask(page, '/api/orders', include))[2];
    return same([...got, total], [...Array(5).fill('blocked'), '2']);
  });
  await check('all pages read what is public, without credentials', async () =>
    same([await ask(stranger, '/public/news'), await ask(stranger, '/public/news', include), await ask(stranger, '/public/missing')].map((got) => got[0]),
      [200, 'b', 404]));
  await check('a form of another site cannot act for the visitor, and the own form can', async () => {
    const own = await context.newPage();
    await own.goto(api('/form'));
    const submit = async (page, run) => {
      const [answer] = await Promise.all([page.waitForResponse(api('/api/orders')), page.evaluate(run, api('/api/orders'))]);
      const { cookie = '' } = await answer.request().allHeaders();
      return [answer.status(), cookie.includes('__Host-session=')];
    };
    const forged = await submit(stranger, (url) => {
      const form = document.createElement('form');
      Object.assign(form, { method: 'post', action: url });
      document.body.append(form);
      form.submit();
    });
    const real = await submit(own, () => document.querySelector('form').submit());
    return same([forged, real], [[403, true], [200, true]]);
  });
} catch (error) {
  await check('the run comes to its end', () => Promise.reject(error));
} finally {
  await browser.close();
}
finish();
