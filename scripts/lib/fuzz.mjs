// Runs the fuzz targets that scripts/fuzz has built, two at a time. Usage: node scripts/lib/fuzz.mjs [--seconds N] [TARGET…]
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../build/fuzz/', import.meta.url));
const AT_ONCE = 2;

/** Longest input of a native target where the default is too little or too much. */
const MAX_BYTES = { plan: 16_384, plan_run: 16_384, binary_info: 16_384, binary_restore: 16_384 };

/** Seeds that serve two targets. */
const CORPUS = { plan_build: 'lutra_json' };

const native = readdirSync(join(root, 'tests/fuzz'))
  .filter((name) => name.startsWith('fuzz_') && name !== 'fuzz_seeds')
  .map((name) => name.slice('fuzz_'.length));
const scripted = [
  ...readFileSync(join(root, '../../tests/fuzz/js/targets.ts'), 'utf8')
    .split('export const TARGETS')[1]
    .matchAll(/^ {2}(\w+): \{/gm),
].map(([, name]) => name);

function arguments_() {
  const names = process.argv.slice(2);
  const at = names.indexOf('--seconds');
  const [, given = '60'] = at < 0 ? [] : names.splice(at, 2);
  const seconds = Number(given);
  if (!Number.isInteger(seconds) || seconds < 1) throw new Error(`--seconds is '${given}', not a number of seconds`);
  const all = [...native, ...scripted];
  for (const name of names) if (!all.includes(name)) throw new Error(`no target '${name}'; known: ${all.join(', ')}`);
  return { seconds, names: names.length > 0 ? names : all };
}

/** Command and arguments of a target's run. */
function command(name, seconds) {
  const corpus = join(root, 'corpus', CORPUS[name] ?? name);
  const found = join(root, 'found', name);
  const crashes = join(root, 'crashes', name);
  for (const folder of [corpus, found, crashes]) mkdirSync(folder, { recursive: true });
  if (!native.includes(name)) {
    const script = join(root, 'js/tests/fuzz/js/fuzz.js');
    return [process.execPath, ['--max-semi-space-size=64', script, name, found, crashes, String(seconds), corpus]];
  }
  const flags = {
    max_total_time: seconds,
    max_len: MAX_BYTES[name] ?? 4096,
    len_control: 0,
    timeout: 20,
    malloc_limit_mb: 64,
    rss_limit_mb: 2048,
    print_final_stats: 1,
    artifact_prefix: `${crashes}/`,
  };
  return [join(root, 'tests/fuzz', `fuzz_${name}`), [...Object.entries(flags).map(([flag, value]) => `-${flag}=${value}`), found, corpus]];
}

/** One line of figures out of libFuzzer's output. */
function summary(name, output) {
  const last = (pattern) => [...output.matchAll(pattern)].at(-1)?.[1] ?? '0';
  const crashes = /ERROR: |fuzz: /.test(output) ? 1 : 0;
  return `${name}: ${last(/number_of_executed_units:\s*(\d+)/g)} executions, ${last(/cov: (\d+)/g)} edges, ${crashes} crashes, peak ${last(/peak_rss_mb:\s*(\d+)/g)} MB`;
}

function run(name, seconds) {
  const [program, args] = command(name, seconds);
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output += data;
      });
    child.on('error', (error) => resolve({ ok: false, line: `${name}: ${error.message}` }));
    child.on('close', (status) => {
      const own = output.split('\n').findLast((line) => line.startsWith(`${name}: `) && line.includes('executions'));
      const ok = status === 0;
      if (!ok) console.error(output.split('\n').slice(-60).join('\n'));
      resolve({ ok, line: own ?? summary(name, output) });
    });
  });
}

try {
  const { seconds, names } = arguments_();
  const left = [...names];
  let failed = 0;
  const worker = async () => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const { ok, line } = await run(name, seconds);
      console.log(line);
      if (!ok) failed++;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  console.log(`${names.length - failed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
} catch (error) {
  console.error(`scripts/fuzz: ${error.message}`);
  process.exitCode = 1;
}
