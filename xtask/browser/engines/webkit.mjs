// WebKitGTK's MiniBrowser by WebDriver, on a display of Xvfb.
//
// WEBKIT_DRIVER names WebKitWebDriver, MINIBROWSER the browser, XVFB the X server.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const LIMIT_MS = 30_000;

/** Starts a program that is ended with the browser; `fail` gets its last words if it ends before. */
function start(program, args, options) {
  const child = spawn(program, args, options);
  let said = '';
  child.stderr.on('data', (data) => { said = (said + data).slice(-4_000); });
  const ended = new Promise((_, fail) => {
    child.once('error', fail);
    child.once('exit', (code, signal) => fail(new Error(`${program} ended (${signal ?? code}): ${said}`)));
  });
  ended.catch(() => {});
  const kill = () => child.kill('SIGKILL');
  process.once('exit', kill);
  return { child, ended, kill: () => { process.off('exit', kill); kill(); } };
}

/** Xvfb, with the number of a display that was free. */
async function startDisplay() {
  const server = start(process.env.XVFB, ['-displayfd', '3', '-screen', '0', '1280x800x24', '-nolisten', 'tcp'], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  });
  let display = '';
  while (!display.includes('\n')) display += (await Promise.race([once(server.child.stdio[3], 'data'), server.ended]))[0];
  return { display: `:${display.trim()}`, kill: server.kill };
}

async function freePort() {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address();
  await new Promise((done) => { server.close(done); });
  return port;
}

/** A WebDriver session is a browser of its own, with its own cookies; a driver has one. */
async function startSession(env) {
  const port = await freePort();
  const driver = start(process.env.WEBKIT_DRIVER, [`--port=${port}`], { env, stdio: ['ignore', 'ignore', 'pipe'] });
  const command = async (method, path, body) => {
    const answer = await Promise.race([driver.ended, fetch(`http://127.0.0.1:${port}/session${path}`, {
      method,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(2 * LIMIT_MS),
    })]);
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`WebDriver ${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  };
  const begin = Date.now();
  while (!await fetch(`http://127.0.0.1:${port}/status`).then((answer) => answer.ok, () => false)) {
    if (Date.now() - begin > LIMIT_MS) throw new Error('WebKitWebDriver does not listen');
    await Promise.race([sleep(50), driver.ended]);
  }
  const { sessionId } = await command('POST', '', {
    capabilities: {
      alwaysMatch: {
        'webkitgtk:browserOptions': { binary: process.env.MINIBROWSER, args: ['--automation'] },
        timeouts: { script: LIMIT_MS, pageLoad: LIMIT_MS },
      },
    },
  });
  return {
    command: (method, path, body) => command(method, `/${sessionId}${path}`, body),
    async close() {
      await command('DELETE', `/${sessionId}`).catch(() => {});
      driver.kill();
    },
  };
}

export async function launch() {
  const display = await startDisplay();
  const home = mkdtempSync(join(tmpdir(), 'webkit-'));
  const env = {
    ...process.env,
    DISPLAY: display.display,
    GDK_BACKEND: 'x11',
    HOME: home,
    XDG_RUNTIME_DIR: home,
    XDG_CACHE_HOME: join(home, 'cache'),
    XDG_DATA_HOME: join(home, 'data'),
    // No graphics card, and no desktop that listens.
    LIBGL_ALWAYS_SOFTWARE: '1',
    NO_AT_BRIDGE: '1',
    GSETTINGS_BACKEND: 'memory',
  };
  const clear = () => rmSync(home, { recursive: true, force: true, maxRetries: 3 });
  process.once('exit', clear);
  const sessions = new Set();
  return {
    async newContext() {
      const session = await startSession(env);
      sessions.add(session);
      // One command at a time, since each goes to the window that was switched to.
      let last = Promise.resolve(), isFirst = true;
      const inTurn = (work) => {
        const turn = last.then(work);
        last = turn.catch(() => {});
        return turn;
      };
      return {
        open: (url) => inTurn(async () => {
          const window = isFirst
            ? await session.command('GET', '/window')
            : (await session.command('POST', '/window/new', { type: 'tab' })).handle;
          isFirst = false;
          await session.command('POST', '/window', { handle: window });
          await session.command('POST', '/url', { url });
          const within = (work) => inTurn(async () => {
            await session.command('POST', '/window', { handle: window });
            return work();
          });
          return {
            async evaluate(code, argument) {
              const { value, error } = await within(() => session.command('POST', '/execute/async', {
                script: `const [argument, done] = arguments;
                  Promise.resolve(argument).then(${code}).then(
                    (value) => done({ value }), (error) => done({ error: String(error) }));`,
                args: [argument ?? null],
              }));
              if (error) throw new Error(error);
              return value;
            },
            goto: (url) => within(() => session.command('POST', '/url', { url })),
          };
        }),
        async close() {
          sessions.delete(session);
          await inTurn(() => session.close());
        },
      };
    },
    async close() {
      await Promise.all([...sessions].map((session) => session.close()));
      display.kill();
      process.off('exit', clear);
      clear();
    },
  };
}
