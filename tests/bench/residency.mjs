// What of a model is resident by --shadow-residency: memory of a process that has filled its context once, beside one that repairs nothing; and that the logits are the same bits.
// Usage: npm run --silent bench:residency -- [--json] [--model DIR] [--tokens 512]; wants Linux. Fails when 'disk' keeps more than 1.02 × what a model without repairs does, or when bits differ.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cache, counts, need, progress, start } from './contenders.mjs';

/** Resident bytes of 'disk' as a share of those without repair, at most. */
const BAR = 1.02;

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    tokens: { type: 'string', default: '512' },
    model: { type: 'string', default: join(cache, 'models', 'smollm2-135m-int8') },
  },
});
const [count] = counts('tokens', flags.tokens);
need(flags.model);

const tokens = Array.from({ length: count }, (_, i) => 100 + ((i * 7919) % 20_000));
const MODES = {
  'no repair': { repair: false },
  all: { shadowResidency: 'all' },
  hot: { shadowResidency: 'hot' },
  disk: { shadowResidency: 'disk' },
};

const rows = [];
for (const [mode, options] of Object.entries(MODES)) {
  progress(mode);
  const { call, close } = start('lutra');
  await call('open', { path: flags.model, threads: 1, contextSize: count, options: { npu: 'host', ...options } });
  rows.push({ mode, ...(await call('resident', { tokens, file: 'npu.safetensors' })) });
  close();
}
progress('');

const [without, ...kept] = rows;
const disk = rows.at(-1);
const ratio = disk.rss / without.rss;
const same = new Set(kept.map(({ logits }) => logits)).size === 1 && kept[0].logits !== without.logits;
if (flags.json) console.log(JSON.stringify({ rows, ratio, same }));
else {
  const mb = (bytes) => (bytes / 1e6).toFixed(1).padStart(9);
  console.log('MB               RSS      PSS     peak  of npu.safetensors  weights of repairs   pinned  inputs repaired, hot');
  for (const { mode, rss, pss, peak, mapped, bytes, timings } of rows) {
    const repaired = `${timings.repairedInputs}, ${timings.hotInputs}`;
    console.log(
      `${mode.padEnd(11)}${mb(rss)}${mb(pss)}${mb(peak)}${mb(mapped).padStart(20)}${mb(bytes.shadow).padStart(20)}${mb(bytes.shadowPinned)}${repaired.padStart(22)}`,
    );
  }
  console.log(
    `'disk' keeps ${ratio.toFixed(4)} × what is resident without repair (at most ${BAR}); the logits of the three are ${same ? '' : 'NOT '}the same bits`,
  );
}
if (!same || !(ratio <= BAR)) process.exitCode = 1;
