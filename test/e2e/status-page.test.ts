import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { formatObjectName, newRun } from '../../protocol/object-name.ts';
import { eventually, Fleet } from '../support/hosts.ts';
import { findChromium, launchChromium } from './browser.ts';
import makeBundle from '../support/bundle-setup.cjs';

jest.setTimeout(120_000);

const program = findChromium();
const describeWithBrowser = program === undefined ? describe.skip : describe;
/** What somebody who can write to the bucket, or to the LMDB, would like every operator's browser to run. */
const HOSTILE = '<img src=x onerror="hacked=1"></td><script>hacked=1</script>\u202E';

describeWithBrowser('the status page in a browser', () => {
  let browser: Browser;
  let fleet: Fleet;
  let a: AgentProcess;
  let b: AgentProcess;

  beforeAll(async () => {
    makeBundle();
    browser = await launchChromium(program as string);
    fleet = await Fleet.open();
    for (const host of ['ns1', 'ns2']) {
      fleet.application(host);
    }
    a = await fleet.startAgent('ns1');
    b = await fleet.startAgent('ns2');
    await Promise.all([a.ready(), b.ready()]);
  });
  afterAll(async () => {
    await browser?.close();
    await fleet?.close();
  });

  /** A page that notes what it must not do: errors, and requests to anywhere but its own agent. */
  async function openPage(agent: AgentProcess, options: BrowserContextOptions = {}) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const complaints: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) {
        complaints.push(message.text());
      }
    });
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('request', (request) => {
      const isOwn = request.url().startsWith(`${agent.url}/`) || request.url().startsWith('data:');
      if (!isOwn) {
        complaints.push(`request to ${request.url()}`);
      }
    });
    await page.goto(agent.url);
    return { page, complaints };
  }

  const textOf = (page: Page) => page.locator('main').innerText();
  const widthOver = (page: Page) =>
    page.evaluate<number>('document.documentElement.scrollWidth - window.innerWidth');

  test('shows databases and DBIs, and a write as it arrives, without a reload', async () => {
    fleet.application('ns1').write([{ key: 'first', value: '1' }]);
    await eventually(() => fleet.application('ns2').read('first') !== undefined, {
      what: 'the first entry in ns2',
      agents: [a, b],
    });
    const { page, complaints } = await openPage(b);
    const cell = (name: string) =>
      page.locator('details table').last().locator('tr', { hasText: name });
    await page.getByText('All is well').waitFor();
    expect(await textOf(page)).toContain('1 database in step with 1 other instance');
    await cell('records').getByText('1', { exact: true }).first().waitFor();
    await page.evaluate('window.sameDocument = true');

    fleet.application('ns1').write([
      { key: 'second', value: '2' },
      { key: 'third', value: '3' },
    ]);
    await cell('records').getByText('3', { exact: true }).first().waitFor();
    await page.getByText('↓ delta merged').first().waitFor();
    expect(await page.evaluate('window.sameDocument')).toBe(true);
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test.each(['light', 'dark'] as const)('fits on a phone, %s', async (colorScheme) => {
    const { page, complaints } = await openPage(a, {
      viewport: { width: 360, height: 740 },
      colorScheme,
    });
    await page.getByText('All is well').waitFor();
    expect(await widthOver(page)).toBe(0);
    const [red = 0] = (
      await page.evaluate<string>('getComputedStyle(document.body).backgroundColor')
    )
      .match(/\d+/g)!
      .map(Number);
    expect(red > 128).toBe(colorScheme === 'light');
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('what upstream shows is there without JavaScript', async () => {
    const { page } = await openPage(a, { javaScriptEnabled: false });
    const text = await textOf(page);
    for (const head of ['Name', 'Map size', 'Used', 'Last transaction', 'Readers', 'Max readers']) {
      expect(text).toContain(head);
    }
    for (const head of [
      'DBI',
      'Entries',
      'Depth',
      'Branch pages',
      'Leaf pages',
      'Overflow pages',
    ]) {
      expect(text).toContain(head);
    }
    expect(text).toContain('256.0 MB');
    expect(text).toContain('records');
    for (const path of ['healthz', 'metrics', 'storage']) {
      expect(await page.locator(`a[href="${path}"]`).count()).toBe(1);
    }
    await page.context().close();
  });

  test('hostile names of instances and DBIs stay text', async () => {
    // An instance's name comes from an object's name: whoever may write to the bucket chooses it.
    const instance = HOSTILE.replaceAll('/', '');
    const name = formatObjectName({
      database: 'main',
      instance: 'placeholder',
      timeNs: BigInt(Date.now()) * 1_000_000n,
      run: newRun((bytes) => new Uint8Array(bytes).fill(7)),
      seq: 1n,
      kind: 'delta',
    }).replace('placeholder', instance);
    fleet.application('ns1').write([{ key: 'x', value: 'x' }], { dbi: HOSTILE });
    const { page, complaints } = await openPage(b);
    await writeFile(join(fleet.bucket, name), 'damaged');
    const cells = (text: string) => page.locator('td bdi').getByText(text, { exact: true });
    await cells(HOSTILE).first().waitFor();
    await cells(instance).first().waitFor();
    // Both ways: put in its place by the script, and as HTML of the first answer.
    for (const round of ['updated', 'fresh']) {
      if (round === 'fresh') {
        await page.reload();
      }
      expect(await page.evaluate('window.hacked')).toBeUndefined();
      expect(await page.locator('main img, main script').count()).toBe(0);
      expect(await cells(HOSTILE).count()).toBeGreaterThan(0);
      expect(await cells(instance).count()).toBeGreaterThan(0);
      expect(await widthOver(page)).toBe(0);
    }
    expect(complaints).toEqual([]);
    await page.context().close();
  });

  test('the browser is told to load nothing from elsewhere, and to make nothing of a text', async () => {
    const { page } = await openPage(a);
    const directives = await page.evaluate<string[]>(`new Promise((resolve) => {
      const refused = [];
      document.addEventListener('securitypolicyviolation', (event) => {
        refused.push(event.effectiveDirective);
        if (refused.length === 3) resolve(refused);
      });
      const image = new Image();
      image.src = 'http://127.0.0.2:9/';
      fetch('http://127.0.0.2:9/').catch(() => undefined);
      try {
        document.body.insertAdjacentHTML('beforeend', '<b onclick="window.hacked = 1">');
      } catch {}
    })`);
    expect(directives.toSorted()).toEqual(['connect-src', 'img-src', 'require-trusted-types-for']);
    await page.context().close();
  });

  test('says when the agent does not answer, and goes on when it is back', async () => {
    const { page } = await openPage(a);
    await page
      .getByText(/All is well|warning/)
      .first()
      .waitFor();
    await page.evaluate('window.sameDocument = true');
    await a.stop();
    await page.getByText('No answer from the agent since').waitFor();
    expect(await page.title()).toBe('No answer');
    const { port } = new URL(a.url);
    a = await fleet.startAgent('ns1', { port: Number(port) });
    await a.ready();
    await page.locator('#gone').waitFor({ state: 'hidden' });
    expect(await page.title()).toContain('ns1');
    expect(await page.evaluate('window.sameDocument')).toBe(true);
    await page.context().close();
  });
});
