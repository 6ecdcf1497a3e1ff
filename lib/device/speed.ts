/** The parts of a device test that measure time. */
import { quantile } from '../bench/kernels.js';
import { Random } from '../bench/random.js';
import { LutraError } from '../graph/errors.js';
import type { Precision } from '../graph/spec.js';
import type { PowerMode } from '../native/addon.js';
import * as qnn from '../qnn/api/index.js';
import { type LoadOptions, loadModel, type Model } from '../runtime/model.js';
import { npuOf } from './checks.js';
import { takeReadings } from './readings.js';
import type { PrecisionCosts, SpeedCheck, SpeedRow } from './report.js';

const PROMPT_TOKENS = 512;
const DECODE_TOKENS = 64;
const MODES: readonly PowerMode[] = ['burst', 'sustained'];

const median = (values: readonly number[]): number => quantile(values, 0.5);

/** Tokens/s of one prompt and of what is said to it. */
async function once(model: Model, prompt: readonly number[], decodeTokens: number): Promise<{ prefill: number; decode: number }> {
  const session = await model.createSession();
  try {
    await session.prefill(prompt);
    const { prefillTokens, prefillMs } = session.timings();
    const { decode } = await session.generate([], { maxTokens: decodeTokens, temperature: 0, ignoreEos: true }).result();
    return { prefill: (1000 * prefillTokens) / prefillMs, decode: decode.tokensPerSecond };
  } finally {
    await session.dispose();
  }
}

/** `runs` runs with each power mode, in turns, so that warmth and other work meet all alike; the first mode once more at the end. */
export async function measureSpeed(directory: string, options: LoadOptions, runs: number): Promise<SpeedCheck> {
  const models = await Promise.all(MODES.map((power) => loadModel(directory, { ...options, power })));
  try {
    const [first] = models;
    if (!first) throw new LutraError('LUTRA_INTERNAL', 'no power mode is measured');
    const promptTokens = Math.min(PROMPT_TOKENS, first.contextSize - DECODE_TOKENS);
    const words = new Random(3).bytes(2 * promptTokens);
    const { vocab } = first.spec.arch;
    const prompt = Array.from({ length: promptTokens }, (_, i) => ((words[2 * i] ?? 0) * 256 + (words[2 * i + 1] ?? 0)) % vocab);
    const npu = await npuOf(first);
    await once(first, prompt, DECODE_TOKENS); // compiles graphs, fills caches
    const samples = models.map((): { prefill: number; decode: number }[] => []);
    const before = models.map(() => takeReadings());
    const after = [...before];
    for (let run = 0; run < runs; run++) {
      for (const [i, model] of models.entries()) {
        samples[i]?.push(await once(model, prompt, DECODE_TOKENS));
        after[i] = takeReadings();
      }
    }
    const again = [];
    for (let run = 0; run < runs; run++) again.push(await once(first, prompt, DECODE_TOKENS));
    const of = (rows: readonly { prefill: number; decode: number }[] = []) => ({
      prefill: median(rows.map(({ prefill }) => prefill)),
      decode: median(rows.map(({ decode }) => decode)),
    });
    const rows = MODES.map(
      (power, i): SpeedRow => ({ power, ...of(samples[i]), runs, before: before[i] ?? takeReadings(), after: after[i] ?? takeReadings() }),
    );
    const [begin, end] = [of(samples[0]), of(again)];
    const drift = { prefill: end.prefill / begin.prefill, decode: end.decode / begin.decode };
    return { npu, promptTokens, decodeTokens: DECODE_TOKENS, rows, drift };
  } finally {
    await Promise.all(models.map((model) => model.dispose()));
  }
}

const [ROWS, SIZE] = [128, 1024];
/** A linear takes a thousandth of the time of a prompt. */
const ROUNDS = 20;
const ACTIVATIONS: Readonly<Partial<Record<Precision, 'u8' | 'u16' | 'f16'>>> = { w8a8: 'u8', w8a16: 'u16', w8f16: 'f16' };

/** Runs a linear once; null when the library refuses it. */
function linear(context: qnn.Context, type: 'u8' | 'u16' | 'f16'): (() => void) | null {
  const weights = new Random(5).normals(SIZE * SIZE);
  const encoding = qnn.axis(0, qnn.channelScales(weights, [SIZE, SIZE], 0));
  const builder = context.createGraph(`linear ${type}`);
  const range = (limit: number) => (type === 'f16' ? {} : { encoding: qnn.rangeEncoding(type, -limit, limit) });
  try {
    const x = builder.input('x', { dtype: type, dims: [ROWS, SIZE], ...range(4) });
    const y = builder.output('y', { dtype: type, dims: [ROWS, SIZE], ...range(4 * Math.sqrt(SIZE)) });
    const w = builder.constant('w', {
      dtype: 's8',
      dims: [SIZE, SIZE],
      encoding,
      data: qnn.quantize(weights, 's8', encoding, [SIZE, SIZE]),
    });
    builder.node({ type: 'FullyConnected', inputs: [x, w], outputs: [y] });
    const graph = builder.finalize();
    const input =
      type === 'u8' ? new Uint8Array(ROWS * SIZE).fill(100) : new Uint16Array(ROWS * SIZE).fill(type === 'u16' ? 25_000 : 0x3400);
    return () => void graph.execute({ x: input });
  } catch (error) {
    if (error instanceof LutraError && error.code === 'LUTRA_QNN_NODE') return null;
    throw error;
  }
}

/** The cost table of precisions (lib/choose/cost.ts), measured on this device's library, one precision after the other in turns. */
export function measurePrecisions(library: string, soc: number | undefined, runs: number): PrecisionCosts {
  const opened = qnn.Library.open(library);
  const backend = opened.createBackend();
  const device = backend.createDevice(soc === undefined ? {} : { soc });
  const vote = device.boost();
  const context = device.createContext();
  try {
    const linears = Object.entries(ACTIVATIONS).map(([precision, type]) => ({
      precision,
      run: linear(context, type),
      times: [] as number[],
    }));
    for (let round = 0; round <= runs * ROUNDS; round++) {
      for (const { run, times } of linears) {
        const started = performance.now();
        run?.();
        if (round > 0) times.push(performance.now() - started);
      }
    }
    const base = linears[0]?.run ? median(linears[0].times) : null;
    return Object.fromEntries(linears.map(({ precision, run, times }) => [precision, run && base ? median(times) / base : null]));
  } finally {
    for (const object of [context, vote, device, backend, opened]) object?.dispose();
  }
}
