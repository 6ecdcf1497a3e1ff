// Memory and speed of conversion, on checkpoints with the shapes of large models and made-up BF16 weights. Fails when a conversion's peak memory is above
// 2 × the largest tensor + 250 MB, or grows with the number of layers. Needs the build, and disk space: about 4 times the source's weights for a moment.
// Usage: node tests/bench/import.mjs [--shape llama-2-7b|llama-3-8b|qwen2-7b] [--layers 1,3] [--ways NAME,…] [--sparse] [--threads N] [--json]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { writeSynthetic } from '../../scripts/lib/synthetic.mjs';

const MB = 1e6;
/** What two numbers of layers may differ by: the list of tensors and what the garbage collector has not got to. */
const GROWTH = 40 * MB;
const ALL_FLOAT = { qkv: 'w8f16', o: 'w8f16', gateup: 'w8f16', down: 'w8f16' };

/** Options of convertModel by name. */
const WAYS = {
  'cpu weights': { precision: null },
  'npu weights': { precision: ALL_FLOAT },
  rotated: { precision: ALL_FLOAT, transform: 'rotate' },
  requantised: { precision: null, cpuWeights: 'w4g32', lmHead: 'w4g32' },
};

const { values: flags } = parseArgs({
  options: {
    shape: { type: 'string', default: 'llama-2-7b' },
    layers: { type: 'string', default: '1,3' },
    ways: { type: 'string', default: Object.keys(WAYS).join(',') },
    threads: { type: 'string', default: '1' },
    sparse: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
});

function measure(input, output, way) {
  const options = { ...WAYS[way], input, output, threads: Number(flags.threads) };
  const child = fileURLToPath(new URL('import-child.mjs', import.meta.url));
  const { status, stdout } = spawnSync(process.execPath, [child, JSON.stringify(options)], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error(`converting ${way} failed`);
  return JSON.parse(stdout);
}

const directory = mkdtempSync(join(tmpdir(), 'lutra-import-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const rows = [];
for (const layers of flags.layers.split(',').map(Number)) {
  const source = join(directory, 'source');
  const { bytes, largest } = writeSynthetic(source, { shape: flags.shape, layers, every: flags.sparse ? 64 : 1 });
  for (const way of flags.ways.split(',')) {
    const { peak, seconds, cpuSeconds } = measure(source, join(directory, 'model'), way);
    rows.push({ way, layers, bytes, peak, bar: 2 * largest + 250 * MB, seconds, cpuSeconds });
  }
}

const failures = rows.filter(({ peak, bar }) => peak > bar).map(({ way, layers }) => `${way}, ${layers} layers: above the bar`);
for (const way of new Set(rows.map((row) => row.way))) {
  const peaks = rows.filter((row) => row.way === way).map(({ peak }) => peak);
  if (Math.max(...peaks) - Math.min(...peaks) > GROWTH) failures.push(`${way}: peak memory depends on the number of layers`);
}
if (flags.json) console.log(JSON.stringify({ shape: flags.shape, rows, failures }));
else {
  const mb = (value) => (value / MB).toFixed(0);
  console.log(`${flags.shape}, BF16, ${flags.threads} thread(s); rates are of the source's weights`);
  for (const { way, layers, bytes, peak, bar, seconds, cpuSeconds } of rows)
    console.log(
      `${way.padEnd(12)} ${String(layers).padStart(2)} layers  ${mb(bytes).padStart(6)} MB  peak ${mb(peak).padStart(5)} MB of ${mb(bar)}  ${seconds.toFixed(1).padStart(6)} s  ${mb(bytes / seconds).padStart(4)} MB/s  ${mb(bytes / cpuSeconds).padStart(4)} MB per second of processor`,
    );
  for (const failure of failures) console.log(`FAILED ${failure}`);
}
process.exitCode = failures.length > 0 ? 1 : 0;
