// Firefox by WebDriver BiDi, which it speaks itself. FIREFOX names the browser.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const LIMIT_MS = 60_000;

/** Commands over a WebSocket, each answered by its id. */
async function connect(url, packages) {
  const WebSocket = createRequire(join(resolve(packages), 'package.json'))('ws');
  const socket = new WebSocket(url);
  await once(socket, 'open');
  const waiting = new Map();
  let last = 0;
  socket.on('message', (data) => {
    const answer = JSON.parse(data);
    const waits = waiting.get(answer.id);
    waiting.delete(answer.id);
    if (answer.type === 'success') waits?.done(answer.result);
    else if (answer.type === 'error') waits?.fail(new Error(`BiDi ${waits.method}: ${answer.error}: ${answer.message}`));
  });
  socket.on('close', () => waiting.forEach(({ fail, method }) => fail(new Error(`BiDi ${method}: Firefox has gone`))));
  socket.on('error', () => {});
  return (method, params) => new Promise((done, fail) => {
    const id = last += 1;
    const timer = setTimeout(() => fail(new Error(`BiDi ${method}: no answer in time`)), LIMIT_MS);
    timer.unref();
    waiting.set(id, { done, fail, method });
    socket.send(JSON.stringify({ id, method, params }));
  });
}

export async function launch({ packages }) {
  const profile = mkdtempSync(join(tmpdir(), 'firefox-'));
  writeFileSync(join(profile, 'user.js'), [
    // Nothing but the pages of the test is to be loaded.
    ['app.normandy.enabled', false],
    ['app.update.disabledForTesting', true],
    ['browser.safebrowsing.update.enabled', false],
    ['browser.shell.checkDefaultBrowser', false],
    ['browser.startup.page', 0],
    ['datareporting.policy.dataSubmissionEnabled', false],
    ['extensions.update.enabled', false],
    ['network.captive-portal-service.enabled', false],
    ['network.connectivity-service.enabled', false],
    ['services.settings.server', 'data:,'],
    ['toolkit.telemetry.enabled', false],
    // Pages in the background are to go on as those in front.
    ['dom.min_background_timeout_value', 4],
    ['dom.timeout.enable_budget_timer_throttling', false],
    ['remote.active-protocols', 1],
  ].map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`).join(''));
  const browser = spawn(process.env.FIREFOX, ['--headless', '--no-remote', '--profile', profile, '--remote-debugging-port', '0'], {
    env: { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: '1' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const kill = () => browser.kill('SIGKILL');
  const clear = () => {
    kill();
    rmSync(profile, { recursive: true, force: true, maxRetries: 3 });
  };
  process.once('exit', clear);
  let said = '';
  const address = await new Promise((done, fail) => {
    browser.stderr.on('data', (data) => {
      said = (said + data).slice(-8_000);
      const listens = /WebDriver BiDi listening on (ws:\/\/\S+)\n/.exec(said);
      if (listens) done(listens[1]);
    });
    browser.once('error', fail);
    browser.once('exit', (code, signal) => fail(new Error(`${process.env.FIREFOX} ended (${signal ?? code}): ${said}`)));
  });
  const command = await connect(`${address}/session`, packages);
  await command('session.new', { capabilities: {} });
  return {
    async newContext() {
      const { userContext } = await command('browser.createUserContext', {});
      return {
        async open(url) {
          const { context } = await command('browsingContext.create', { type: 'tab', userContext });
          const goto = (url) => command('browsingContext.navigate', { context, url, wait: 'complete' });
          await goto(url);
          return {
            goto,
            async evaluate(code, argument) {
              const { type, result, exceptionDetails } = await command('script.evaluate', {
                expression: `Promise.resolve(${JSON.stringify(argument ?? null)}).then(${code}).then(JSON.stringify)`,
                target: { context },
                awaitPromise: true,
              });
              if (type === 'exception') throw new Error(exceptionDetails.text);
              return result.value === undefined ? undefined : JSON.parse(result.value);
            },
          };
        },
        close: () => command('browser.removeUserContext', { userContext }),
      };
    },
    async close() {
      const ended = once(browser, 'exit');
      await command('browser.close', {}).catch(kill);
      await ended;
      process.off('exit', clear);
      clear();
    },
  };
}
