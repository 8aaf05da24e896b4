// Debian's Chromium, driven by playwright-core, as one visitor of a page.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import type { AxeResults } from 'axe-core';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const dist = new URL('../../dist/', import.meta.url);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core'), 'utf8');

export async function launchChromium(): Promise<Browser> {
  const folders = process.env.PATH?.split(':') ?? [];
  const executablePath = folders.map((folder) => `${folder}/chromium`).find((path) => existsSync(path));
  if (executablePath === undefined) throw new Error('chromium is not in the PATH: scripts/setup --test');
  return chromium.launch({
    executablePath,
    // As root it has no sandbox, and what it asks of its maker's servers is nobody's business here.
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/** One tab, and what goes wrong in it. */
export class Visitor {
  readonly page: Page;
  /** What the console says above a message, and errors that nobody caught. */
  readonly complaints: string[] = [];
  /** What was asked of any other server than that of the page. */
  readonly elsewhere: string[] = [];

  private constructor(page: Page, origin: string) {
    this.page = page;
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.complaints.push(message.text());
    });
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('requestfailed', (request) => {
      if (!request.url().endsWith('/stream')) this.complaints.push(`no answer: ${request.url()}`);
    });
    page.on('request', (request) => {
      if (new URL(request.url()).origin !== origin) this.elsewhere.push(request.url());
    });
  }

  static async at(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Visitor> {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    const visitor = new Visitor(page, new URL(url).origin);
    if (process.env.NODE_V8_COVERAGE) await page.coverage.startJSCoverage({ resetOnNavigation: false });
    await page.goto(url);
    return visitor;
  }

  async text(selector: string): Promise<string> {
    return (await this.page.locator(selector).textContent()) ?? '';
  }

  /** The cells of a table's body. */
  rows(id: string): Promise<string[][]> {
    return this.page
      .locator(`#${id} tbody tr`)
      .evaluateAll((rows) =>
        rows.map((row) => [...row.querySelectorAll('td')].map(({ textContent }) => textContent)),
      );
  }

  /** How many updates the page shows. */
  async updates(): Promise<number> {
    return Number(await this.page.locator('body').getAttribute('data-updates'));
  }

  /** What a canvas shows, pixel for pixel. */
  picture(selector: string): Promise<string> {
    return this.page.locator(`${selector} canvas`).evaluate((canvas) => canvas.toDataURL());
  }

  /** What axe-core finds that keeps people out. */
  async violations(): Promise<string[]> {
    await this.page.evaluate(axe);
    const found = (await this.page.evaluate('axe.run()')) as AxeResults;
    return found.violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  }

  async close(): Promise<void> {
    if (process.env.NODE_V8_COVERAGE) await this.#keepCoverage(process.env.NODE_V8_COVERAGE);
    await this.page.context().close();
  }

  // As Node would write it down: the files of dist/ that the server gave the page.
  async #keepCoverage(folder: string): Promise<void> {
    const scripts = await this.page.coverage.stopJSCoverage();
    const result = scripts.flatMap(({ url, scriptId, functions }) => {
      const { pathname } = new URL(url);
      const file = [`page${pathname}`, pathname.slice(1)].find((name) => existsSync(new URL(name, dist)));
      return file === undefined ? [] : [{ scriptId, url: new URL(file, dist).href, functions }];
    });
    writeFileSync(
      new URL(`coverage-page-${process.pid}-${performance.now()}.json`, pathToFileURL(`${folder}/`)),
      JSON.stringify({ result }),
    );
  }
}
