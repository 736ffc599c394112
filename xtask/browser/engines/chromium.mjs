// Chromium by Playwright. CHROMIUM names the browser.

import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

export async function launch({ packages }) {
  const { chromium } = createRequire(join(resolve(packages), 'package.json'))('playwright-core');
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox'] });
  return {
    async newContext() {
      const context = await browser.newContext();
      return {
        async open(url) {
          const page = await context.newPage();
          await page.goto(url);
          return {
            goto: (url) => page.goto(url),
            evaluate: (code, argument) => page.evaluate(
              ([code, argument]) => Promise.resolve(argument ?? null).then((0, eval)(`(${code})`)), [`${code}`, argument]),
          };
        },
        close: () => context.close(),
      };
    },
    close: () => browser.close(),
  };
}
