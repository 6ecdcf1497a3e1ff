/** The parts of a device test that tell right from wrong. */
import { ERROR_ROWS, someWeight } from '../bench/kernels.js';
import { nmseOf, Random } from '../bench/random.js';
import * as kernels from '../kernels/index.js';
import { probe } from '../qnn/probe/probe.js';
import { loadModel, type Model } from '../runtime/model.js';
import type { ConformanceSummary, KernelCheck, TokensCheck } from './report.js';

const COLUMNS = 1024;
/** Of activations that are rounded to 8 bits, with normal data. */
const MOST_NMSE = 1e-4;

/** Every kernel that this processor runs, on random weights of every format, against the definition in float64. */
export function checkKernels(): KernelCheck[] {
  const x = new Random(9).normals(COLUMNS);
  return kernels
    .list()
    .filter(({ available }) => available)
    .flatMap(({ name, isa, formats }) =>
      formats.map((format): KernelCheck => {
        const weight = someWeight(format, COLUMNS);
        const held = kernels.dequantize(weight);
        const y = kernels.gemv(weight, x, { kernel: name });
        const nmse = nmseOf(y, x, COLUMNS, ERROR_ROWS, (row, column) => held[row * COLUMNS + column] ?? Number.NaN);
        weight.dispose();
        return { kernel: name, isa, format, nmse, right: nmse <= MOST_NMSE };
      }),
    );
}

/** The conformance table, every `sample`-th case of it, in child processes. */
export async function checkConformance(library: string, soc: number | undefined, sample: number): Promise<ConformanceSummary> {
  const { backend, outcomes } = await probe({
    library,
    ...(soc === undefined ? {} : { soc }),
    select: (cases) => cases.filter((_, i) => i % sample === 0),
  });
  const unexpected = outcomes.filter(({ holds, exception }) => !holds && exception === '');
  return {
    library: `${backend.name} ${backend.buildId}`,
    cases: outcomes.length,
    asExpected: outcomes.filter(({ holds }) => holds).length,
    exceptions: outcomes.filter(({ holds, exception }) => !holds && exception !== '').length,
    unexpected: unexpected.map(({ name, verdict, message }) => ({ name, verdict, message })),
  };
}

const PROMPTS = [
  'The capital of France is',
  'def fibonacci(n):\n    """Return the n-th number."""\n',
  'Once upon a time there was an otter who',
] as const;
const TOKENS = 24;

async function greedy(model: Model): Promise<number[][]> {
  const answers: number[][] = [];
  for (const prompt of PROMPTS)
    answers.push([...(await model.generate(prompt, { maxTokens: TOKENS, temperature: 0, ignoreEos: true }).result()).tokens]);
  return answers;
}

/** Greedy tokens of `model` and of the host NPU, whose arithmetic is the same on every machine. */
export async function checkTokens(model: Model): Promise<TokensCheck> {
  const found = await greedy(model);
  const host = await loadModel(model.path, { npu: 'host', contextSize: model.contextSize });
  try {
    const expected = await greedy(host);
    const prompts = expected.map((tokens, i) => {
      const differs = tokens.findIndex((token, j) => found[i]?.[j] !== token);
      return { tokens: tokens.length, agree: differs < 0 ? tokens.length : differs };
    });
    const agreement = prompts.reduce((sum, { tokens, agree }) => sum + agree / tokens, 0) / prompts.length;
    return { npu: await npuOf(model), prompts, agreement };
  } finally {
    await host.dispose();
  }
}

/** What computes a model's prompts, in words. */
export async function npuOf(model: Model): Promise<string> {
  const session = await model.createSession();
  const { npu, why } = session.placement();
  await session.dispose();
  return `${npu ?? 'none'} (${why})`;
}
