/** Flags that every command with a model shares, and what they mean. */
import { KV_TYPE_CODES, type KvType } from '../graph/index.js';
import { POWER_MODES, type PowerMode, SHADOW_RESIDENCIES, type ShadowResidency } from '../native/addon.js';
import type { NpuChoice } from '../qnn/discover.js';
import type { LoadOptions } from '../runtime/model.js';
import { type Arguments, type Flags, UsageError } from './args.js';
import { note } from './output.js';

export const npuFlags = {
  npu: { value: 'host|none|auto|require|PATH', help: 'where prompts run: the host NPU, the CPU, or a QNN library (default auto)' },
  soc: { value: 'ID', help: 'QNN SoC id that the library compiles for, for example 57 (SM8650)' },
} as const satisfies Flags;

export const modelFlags = {
  ...npuFlags,
  reference: { help: 'plain float everywhere' },
  threads: { value: 'N', help: 'threads of CPU kernels and host NPU (default: all processors, or the big cores of a phone)' },
  context: { value: 'N', help: 'tokens that the context holds' },
  kv: { value: 'f16|int8|f32', help: 'type of the KV cache (default f16; f32 with --reference)' },
  'shadow-residency': { value: 'all|hot|disk', help: 'how much of the weights that repairs read stays in memory (default all)' },
  'no-repair': { help: 'leave out the repair of what 8-bit linears clip, to see what it is worth' },
  cache: { value: 'DIR', help: 'where compiled graphs of a QNN library are kept' },
  compiled: { value: 'DIR', help: 'graphs that lutra compile made (default: compiled in the model directory)' },
  'no-cache': { help: 'do not keep compiled graphs' },
  'no-npu-check': { help: 'do not test a QNN library before its first use' },
  power: { value: 'MODE', help: `clocks of the NPU while it computes: ${POWER_MODES.join(', ')} (default burst)` },
  profile: { help: 'time every CPU step (timings of --json)' },
  verbose: { short: 'v', help: 'show the log of the NPU library' },
} as const satisfies Flags;

const isPowerMode = (text: string): text is PowerMode => POWER_MODES.some((mode) => mode === text);
const isKvType = (text: string): text is KvType => Object.hasOwn(KV_TYPE_CODES, text);

const isResidency = (text: string): text is ShadowResidency => (SHADOW_RESIDENCIES as readonly string[]).includes(text);

/** What --npu and --soc say. */
export function npuChoiceOf(args: Arguments): NpuChoice | undefined {
  return npuChoice(args.string('npu'), args.integer('soc'));
}

/** What a flag for an NPU and one for its SoC say. */
export function npuChoice(npu: string | undefined, soc: number | undefined): NpuChoice | undefined {
  if (npu === undefined || npu === 'host' || npu === 'none' || npu === 'auto' || npu === 'require') {
    const library = npu === 'none' || npu === 'host' ? undefined : process.env.LUTRA_QNN_LIBRARY;
    if (soc !== undefined && !library) throw new UsageError('--soc goes with a QNN library: --npu PATH.');
    return soc !== undefined && library ? { library, soc } : npu;
  }
  return soc === undefined ? { library: npu } : { library: npu, soc };
}

export function loadOptions(args: Arguments): LoadOptions {
  const cache = args.flag('no-cache') ? false : args.string('cache');
  const npu = npuChoiceOf(args);
  const verbose = args.flag('verbose');
  const kv = args.string('kv');
  if (kv !== undefined && !isKvType(kv))
    throw new UsageError(`--kv is ${JSON.stringify(kv)}; give ${Object.keys(KV_TYPE_CODES).join(', ')}.`);
  const power = args.string('power');
  if (power !== undefined && !isPowerMode(power))
    throw new UsageError(`--power is ${JSON.stringify(power)}; give ${POWER_MODES.join(', ')}.`);
  const residency = args.string('shadow-residency');
  if (residency !== undefined && !isResidency(residency))
    throw new UsageError(`--shadow-residency is ${JSON.stringify(residency)}; give ${SHADOW_RESIDENCIES.join(', ')}.`);
  return {
    ...(npu === undefined ? {} : { npu }),
    reference: args.flag('reference'),
    profile: args.flag('profile'),
    ...optional('threads', args.integer('threads', 1)),
    ...optional('contextSize', args.integer('context', 1)),
    ...optional('kv', kv),
    ...optional('power', power),
    ...optional('shadowResidency', residency),
    ...(args.flag('no-repair') ? { repair: false } : {}),
    ...optional('cache', cache),
    ...optional('compiled', args.string('compiled')),
    ...(args.flag('no-npu-check') ? { npuCheck: false } : {}),
    ...(verbose ? { onLog: (level: number, line: string) => note(`[${level}] ${line}`), logLevel: 4 } : {}),
  };
}

/** An object with the field, or without it when there is no value. */
export function optional<K extends string, V>(name: K, value: V | undefined): { [key in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [key in K]?: V });
}
