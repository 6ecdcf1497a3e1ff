// node screenshot.mjs DIR: serves the model, has a conversation on the page, and writes docs/images/server.png and server-phone.png.
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { serve } from '../../dist/index.js';

const images = fileURLToPath(new URL('../../docs/images/', import.meta.url));
mkdirSync(images, { recursive: true });
const server = await serve(process.argv[2], { port: 0, model: { npu: 'host' } });
const browser = await chromium.launch({ executablePath: process.env.LUTRA_CHROMIUM || '/usr/bin/chromium', args: ['--no-sandbox'] });

async function talk(page, questions) {
  await page.goto(server.url);
  await page.getByText('context of').waitFor();
  await page.getByText('Settings', { exact: true }).click();
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Tokens at most').fill('90');
  await page.getByText('Settings', { exact: true }).click();
  for (const [i, question] of questions.entries()) {
    await page.getByLabel('Message', { exact: true }).fill(question);
    await page.getByRole('button', { name: 'Send' }).click();
    await page.locator('.message.assistant:not([aria-busy])').nth(i).waitFor();
  }
  await page.waitForTimeout(300); // the last state of the feed
}

const wide = await browser.newPage({ viewport: { width: 1180, height: 760 } });
await talk(wide, ['What is an otter? Answer in two sentences.', 'And what does it eat?']);
await wide.screenshot({ path: `${images}server.png` });
const phone = await browser.newPage({ viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
await talk(phone, ['Why is the sky blue? Answer in one sentence.']);
await phone.screenshot({ path: `${images}server-phone.png`, fullPage: true });
await browser.close();
await server.close();
