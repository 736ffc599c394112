// What the scripts in this folder share: checks, child processes, and the end of a run.

import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

/** The processes that end with the script. */
export const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130));

/** Fails the run if it takes longer than `seconds`. */
export function limit(seconds) {
  setTimeout(() => { console.error('not in time'); process.exit(1); }, seconds * 1000).unref();
}

/** Gives the browser type of the `playwright-core` in `packages`. */
export function chromiumOf(packages) {
  return createRequire(join(resolve(packages), 'package.json'))('playwright-core').chromium;
}

/** Gives the functions of a run whose lines begin with `name`. */
export function checks(name) {
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
    const detail = () => typeof outcome === 'string' ? outcome : JSON.stringify(outcome);
    console.log(outcome === true ? `ok - ${name}: ${what}` : `not ok - ${name}: ${what}\n    ${detail()}`);
  }
  /** Prints the counts and ends the process. */
  function finish() {
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed > 0 ? 1 : 0);
  }
  return { check, finish };
}
