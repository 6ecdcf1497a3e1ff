/** The page at `/` in headless Chromium: a conversation streams, can be stopped, fails visibly, and the picture shows where the time goes. */
import { rm } from 'node:fs/promises';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeScripted } from './script-model.js';
import { ask, type Served, serveDirectory, serveTiny, temporary } from './setup.js';

const TEMPLATE =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + ':' + m.content }}{% endfor %}{{ 'L' if messages[-1].content == 'for ever' else 'A' }}";
/** A browser and a server on a busy machine. */
const SLOW = { timeout: 20_000 };

const SCRIPTS = { A: ['An otter', ' is a', ' semi-aquatic', ' mammal', ' indeed.'], L: ['round ', 'and ', 'round '] };

let root: string;
let browser: Browser;
let scripted: Served;
let tiny: Served;
beforeAll(async () => {
  root = await temporary();
  scripted = await serveDirectory(await makeScripted(root, 'script', SCRIPTS, TEMPLATE), {
    apiKey: 'secret',
    model: { npu: 'none', contextSize: 16384 },
  });
  tiny = await serveTiny({ model: { contextSize: 8192 } });
  browser = await chromium.launch({ executablePath: process.env.LUTRA_CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] });
});
afterAll(async () => {
  await browser?.close();
  for (const { failures, stop } of [scripted, tiny]) {
    expect(failures).toEqual([]);
    await stop();
  }
  await rm(root, { recursive: true, force: true });
});

/** A page, and everything that the browser complains about. */
async function open(
  url: string,
  options: { width?: number; colorScheme?: 'light' | 'dark' } = {},
): Promise<{ page: Page; complaints: string[] }> {
  const { width = 1200, colorScheme = 'light' } = options;
  const page = await browser.newPage({ viewport: { width, height: 800 }, colorScheme });
  const complaints: string[] = [];
  page.on('pageerror', (error) => complaints.push(error.message));
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) complaints.push(`asks ${request.url()}`);
  });
  await page.goto(url);
  return { page, complaints };
}

/** The page of the server that wants a key, which is given. */
async function openWithKey(): Promise<{ page: Page; complaints: string[] }> {
  const opened = await open(scripted.server.url);
  const { page } = opened;
  await page.getByRole('alert').getByText('Authorization').waitFor();
  await page.getByText('Settings', { exact: true }).click();
  await page.getByLabel('API key').fill('secret');
  await page.getByLabel('API key').blur();
  await page.getByText('script, context of 16384 tokens').waitFor();
  return opened;
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

describe('the page', () => {
  it('asks for the key, then answers, and remembers the conversation', async () => {
    const { page, complaints } = await openWithKey();
    expect(await page.getByRole('alert').isVisible()).toBe(false);
    complaints.length = 0; // the refusals, which the browser logs
    await say(page, 'What is an otter?');
    await page.locator('.message.assistant:not([aria-busy])').getByText(SCRIPTS.A.join('')).waitFor();
    await say(page, 'Really?');
    await expect.poll(() => page.locator('.message.assistant:not([aria-busy])').count(), SLOW).toBe(2);
    expect(Number(await page.locator('#cached').textContent())).toBeGreaterThan(10);
    await page.getByRole('button', { name: 'New chat' }).click();
    expect(await page.locator('.message').count()).toBe(0);
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('shows where the time of prompt, answer and each token goes', async () => {
    const { page, complaints } = await open(tiny.server.url);
    await page.getByText('Settings', { exact: true }).click();
    await page.getByLabel('Tokens at most').fill('120');
    await page.getByLabel('Temperature').fill('2');
    await page.getByText('tiny, context of').waitFor();
    await expect
      .poll(async () => {
        await say(page, 'hello world hello world');
        await page.locator('.pill[data-busy="false"]').waitFor();
        return page.locator('#tokens rect').count();
      }, SLOW)
      .toBeGreaterThan(10);
    expect(await page.locator('#prefill-legend').textContent()).toMatch(/\d+ NPU graphs[\s\S]*ms[\s\S]*CPU attention/);
    expect(await page.locator('#prefill-bar').getAttribute('aria-label')).toMatch(/NPU graphs [\d.]+ ms/);
    expect(await page.locator('#decode-bar').getAttribute('aria-label')).toMatch(/CPU linears [\d.]+ ms/);
    expect(Number(await page.locator('#decode-speed').textContent())).toBeGreaterThan(0);
    expect(await page.locator('#placement').textContent()).toContain('LUTRA_HOST');
    expect(complaints).toEqual([]);
    await page.close();
  });

  it('stops an answer, which ends what is computed for it, and keeps what was said', async () => {
    const { page } = await openWithKey();
    await page.getByLabel('Tokens at most').fill('16000');
    const stop = page.getByRole('button', { name: 'Stop' });
    expect(await stop.isDisabled()).toBe(true);
    await say(page, 'for ever');
    await page.getByText('round and round').waitFor();
    await stop.click();
    await expect.poll(() => stop.isDisabled(), SLOW).toBe(true);
    await expect.poll(async () => JSON.parse((await ask(scripted.server, 'GET', '/health')).text).running, SLOW).toBe(0);
    expect(await page.getByRole('alert').isVisible()).toBe(false);
    expect((await page.locator('.message.assistant').textContent())?.length).toBeLessThan(16000 * 4);
    await page.close();
  });

  it('says what the server refuses', async () => {
    const { page } = await open(tiny.server.url);
    await page.getByText('tiny, context of').waitFor();
    await say(page, 'x'.repeat(9000));
    await page
      .getByRole('alert')
      .getByText(/has 9\d+ tokens, and the context holds 8192/)
      .waitFor();
    expect(await page.locator('.message.assistant').count()).toBe(0);
    await page.close();
  });

  it.each(['light', 'dark'] as const)('fits a phone, and its text can be read: %s', async (colorScheme) => {
    const { page } = await open(tiny.server.url, { width: 360, colorScheme });
    await say(page, 'hello world');
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(360);
    // Contrast as WCAG 2 defines it, of what is read and pressed on what it stands on.
    const contrasts = await page.evaluate(`(() => {
      const channels = (color) => color.match(/[\\d.]+/g).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = (node) => { const c = channels(getComputedStyle(node).backgroundColor); return c[3] === 0 ? ground(node.parentElement) : c; };
      return [...document.querySelectorAll('#model, #empty, h2, dt, summary, #send, #clear, .message')].map((node) => {
        const [a, b] = [light(channels(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
        return [node.id || node.className || node.tagName, (a + 0.05) / (b + 0.05)];
      });
    })()`);
    expect((contrasts as [string, number][]).filter(([, contrast]) => contrast < 4.5)).toEqual([]);
    await page.close();
  });

  it('loads nothing but its own files, under a policy that allows nothing else', async () => {
    const { headers, text } = await ask(tiny.server, 'GET', '/');
    expect(headers['content-security-policy']).toMatch(/^default-src 'none'; script-src 'self'; style-src 'self'/);
    expect(headers['content-security-policy']).not.toMatch(/unsafe|\*|http/);
    expect(text).not.toMatch(/https?:|<style|style=|onclick/);
    for (const path of ['/app.js', '/style.css', '/icon.svg']) expect((await ask(tiny.server, 'GET', path)).status).toBe(200);
  });
});
