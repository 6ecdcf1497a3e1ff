/** How a checkpoint is quantised: `quantization_config` of config.json, or quantize_config.json. */

import type { Fields } from './fields.js';
import { across, down, type GroupedFormat } from './grouped.js';

export type Quantization =
  | { method: 'none' }
  | { method: 'grouped'; format: GroupedFormat }
  /** Whether values are divided by the scale rather than multiplied. */
  | { method: 'bitnet'; inverse: boolean }
  /** Matrices in ggml's block types, told by their type alone. */
  | { method: 'blocks' };

const REMEDY =
  'lutra converts GPTQ (2, 3, 4 bits), AWQ (4 bits, GEMM) and BitNet; use another quantisation of the model, or the model itself.';

/** Of an output in a word of AWQ, which place it has. */
const AWQ_PLACES = [0, 4, 1, 5, 2, 6, 3, 7] as const;

function bitsOf(config: Fields, name: string, allowed: readonly (2 | 3 | 4)[], method: string): 2 | 3 | 4 {
  const bits = config.integer(name, 1);
  const found = allowed.find((one) => one === bits);
  if (found === undefined) throw config.unsupported(`${method} of ${bits} bits`, REMEDY);
  return found;
}

/** Columns that share a scale; 0: all of a row. Any multiple of 32 is one that lutra holds, in groups that repeat a scale. */
function groupOf(config: Fields, name: string): number {
  const group = config.integer(name, -1);
  if (group === -1) return 0;
  if (group === 0 || group % 32 !== 0) throw config.unsupported(`${name} is ${group}; multiples of 32 and −1 have a packed form`, REMEDY);
  return group;
}

function gptq(config: Fields): Quantization {
  const bits = bitsOf(config, 'bits', [2, 3, 4], 'GPTQ');
  const checkpoint = config.string('checkpoint_format', config.boolean('is_marlin_format', false) ? 'marlin' : 'gptq');
  if (checkpoint !== 'gptq' && checkpoint !== 'gptq_v2') throw config.unsupported(`its checkpoint_format is "${checkpoint}"`, REMEDY);
  const pack = config.string('pack_dtype', 'int32');
  if (pack !== 'int32') throw config.unsupported(`its pack_dtype is "${pack}"`, REMEDY);
  const dynamic = config.object('dynamic');
  if (dynamic && !dynamic.isEmpty) throw config.unsupported('its linears are quantised in different ways (dynamic)', REMEDY);
  return {
    method: 'grouped',
    format: {
      name: 'GPTQ',
      bits,
      group: groupOf(config, 'group_size'),
      weights: down(bits),
      zeros: across(bits),
      zeroStep: checkpoint === 'gptq' ? 1 : 0,
      order: config.boolean('desc_act', false) ? 'needed' : 'possible',
    },
  };
}

function awq(config: Fields): Quantization {
  const bits = bitsOf(config, config.has('bits') ? 'bits' : 'w_bit', [4], 'AWQ');
  const version = config.string('version', 'gemm').toLowerCase();
  if (version !== 'gemm') throw config.unsupported(`its AWQ version is "${version}"`, REMEDY);
  if (!config.boolean('zero_point', true)) throw config.unsupported('AWQ without zero points', REMEDY);
  return {
    method: 'grouped',
    format: {
      name: 'AWQ',
      bits,
      group: groupOf(config, config.has('group_size') ? 'group_size' : 'q_group_size'),
      weights: across(bits, AWQ_PLACES),
      zeros: across(bits, AWQ_PLACES),
      zeroStep: 0,
      order: 'never',
    },
  };
}

function bitnet(config: Fields): Quantization {
  if (config.boolean('use_rms_norm', false)) throw config.unsupported('its linears norm their inputs (use_rms_norm)', REMEDY);
  const linear = config.string('linear_class', 'bitlinear');
  const mode = config.string('quantization_mode', 'offline');
  if (linear === 'bitlinear') return { method: 'bitnet', inverse: true };
  if (linear === 'autobitlinear' && mode === 'offline') return { method: 'bitnet', inverse: false };
  throw config.unsupported(`linear_class "${linear}" with quantization_mode "${mode}"`, REMEDY);
}

const METHODS: Readonly<Record<string, (config: Fields) => Quantization>> = { gptq, awq, bitnet };

/** `separate`: quantize_config.json. Errors: LUTRA_UNSUPPORTED, LUTRA_BAD_FILE. */
export function readQuantization(config: Fields, separate: Fields | undefined): Quantization {
  const own = config.object('quantization_config') ?? separate;
  if (!own) return { method: 'none' };
  const method = own.string('quant_method', own === separate ? 'gptq' : undefined).toLowerCase();
  const read = Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
  if (!read) throw own.unsupported(`its quant_method is "${method}"`, REMEDY);
  return read(own);
}
