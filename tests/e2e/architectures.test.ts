/**
 * Every family that is imported, against the logits that Hugging Face's transformers computes from the same files (tests/golden/checkpoints/make.py): tiny checkpoints of random
 * weights with what is special about the family.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IMPORT_FAMILIES } from '../../lib/convert/families/index.js';
import { type ConvertOptions, convertModel } from '../../lib/convert/index.js';
import type { ModelSpec } from '../../lib/graph/spec.js';
import { loadAddon } from '../../lib/native/loader.js';
import { type LoadOptions, loadModel } from '../../lib/runtime/model.js';
import { nmse } from './helpers.js';

const GOLDENS = join(import.meta.dirname, '../golden/checkpoints');
const NAMES = (await readdir(GOLDENS, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name);

interface Golden {
  tokens: number[];
  /** [tokens, vocab] */
  logits: Float32Array;
}

async function golden(name: string): Promise<Golden> {
  const { tokens } = JSON.parse(await readFile(join(GOLDENS, name, 'golden.json'), 'utf8')) as Golden;
  const bytes = await readFile(join(GOLDENS, name, 'logits.f32'));
  return { tokens, logits: new Float32Array(new Uint8Array(bytes).buffer) };
}

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-architectures-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

let directories = 0;

async function convert(input: string, more: Partial<ConvertOptions> = {}): Promise<{ directory: string; spec: ModelSpec }> {
  const directory = join(root, String(directories++));
  const spec = await convertModel({ input, output: directory, addon: loadAddon(), precision: null, chunk: 8, threads: 1, ...more });
  return { directory, spec };
}

/** Logits of all positions, with the prompt in these pieces. */
async function logitsOf(directory: string, load: LoadOptions, tokens: readonly number[], pieces: readonly number[]): Promise<Float32Array> {
  const model = await loadModel(directory, { contextSize: 128, threads: 2, ...load });
  try {
    const session = await model.createSession();
    const logits: number[] = [];
    let at = 0;
    for (const piece of pieces) {
      logits.push(...(await session.prefill(tokens.slice(at, at + piece), { logits: 'all' })));
      at += piece;
    }
    return Float32Array.from(logits);
  } finally {
    await model.dispose();
  }
}

it('every family that is imported has a golden', async () => {
  const types = await Promise.all(
    NAMES.map(
      async (name) => (JSON.parse(await readFile(join(GOLDENS, name, 'config.json'), 'utf8')) as { model_type: string }).model_type,
    ),
  );
  expect([...new Set(types)].sort()).toEqual(IMPORT_FAMILIES.map(({ huggingFace }) => huggingFace.modelType).sort());
});

describe.each(NAMES)('%s', (name) => {
  let directory: string;
  /** The same in chunks of another length. */
  let other: string;
  let want: Golden;
  beforeAll(async () => {
    want = await golden(name);
    ({ directory } = await convert(join(GOLDENS, name)));
    ({ directory: other } = await convert(join(GOLDENS, name), { chunk: 5 }));
  });

  it('has the logits of transformers, the prompt at once, in pieces and token by token, in chunks of two lengths', async () => {
    const { tokens, logits } = want;
    const ways: [string, number[]][] = [
      [directory, [tokens.length]],
      [other, [tokens.length]],
      [directory, [7, 1, tokens.length - 8]],
      [directory, tokens.map(() => 1)],
    ];
    const errors: number[] = [];
    for (const [from, pieces] of ways) errors.push(nmse(await logitsOf(from, { reference: true }, tokens, pieces), logits));
    console.log(`${name}: NMSE ${errors.map((one) => one.toExponential(1)).join(', ')}`);
    expect(Math.max(...errors)).toBeLessThan(1e-9);
  });
});
