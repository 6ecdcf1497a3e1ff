/** What a device test brings back. Parts that were not reached, or failed, say so: a report of a device that was lost is still a report. */
import type { DoctorReport } from '../doctor/index.js';
import type { Precision } from '../graph/spec.js';
import type { PowerMode } from '../native/addon.js';
import type { Readings } from './readings.js';

export const PART_NAMES = ['doctor', 'kernels', 'conformance', 'tokens', 'speed', 'precisions'] as const;
export type PartName = (typeof PART_NAMES)[number];

export type Part<T> =
  | { state: 'done'; seconds: number; result: T }
  | { state: 'failed'; seconds: number; error: { code: string; message: string; remedy: string } }
  | { state: 'skipped'; why: string };

/** Every kernel of this processor on random weights, against the definition. */
export interface KernelCheck {
  kernel: string;
  isa: string;
  format: string;
  nmse: number;
  right: boolean;
}

export interface ConformanceSummary {
  library: string;
  cases: number;
  asExpected: number;
  exceptions: number;
  unexpected: { name: string; verdict: string; message: string }[];
}

/** Greedy tokens on the NPU and on the host NPU, which is the same on every machine. */
export interface TokensCheck {
  npu: string;
  /** `agree`: tokens that are equal from the start on. */
  prompts: { tokens: number; agree: number }[];
  /** Mean of agree ÷ tokens. Libraries may round otherwise by a step, after which near ties fall the other way. */
  agreement: number;
}

/** Medians of interleaved runs, tokens/s. */
export interface SpeedRow {
  power: PowerMode;
  prefill: number;
  decode: number;
  runs: number;
  before: Readings;
  after: Readings;
}

export interface SpeedCheck {
  npu: string;
  promptTokens: number;
  decodeTokens: number;
  rows: SpeedRow[];
  /** The first row measured again at the end, ÷ the first time: below 1 the device got slower meanwhile. */
  drift: { prefill: number; decode: number };
}

/** Time of a linear of 128 × 1024 × 1024 on the library ÷ that in w8a8; null: refused. */
export type PrecisionCosts = Partial<Record<Precision, number | null>>;

export interface DeviceReport {
  version: 1;
  /** ISO date and time. */
  at: string;
  lutra: string;
  model: string;
  parts: {
    doctor: Part<DoctorReport>;
    kernels: Part<KernelCheck[]>;
    conformance: Part<ConformanceSummary>;
    tokens: Part<TokensCheck>;
    speed: Part<SpeedCheck>;
    precisions: Part<PrecisionCosts>;
  };
}

/** Libraries that compute something else agree by chance. */
const LEAST_AGREEMENT = 0.5;

/** 0: all parts are done and right. 1: something is wrong, failed or was not reached. */
export function verdictOf({ parts }: DeviceReport): 0 | 1 {
  const { doctor, kernels, conformance, tokens } = parts;
  if (Object.values(parts).some(({ state }) => state === 'failed')) return 1;
  const wrong =
    (doctor.state === 'done' && doctor.result.exitCode !== 0) ||
    (kernels.state === 'done' && kernels.result.some(({ right }) => !right)) ||
    (conformance.state === 'done' && conformance.result.unexpected.length > 0) ||
    (tokens.state === 'done' && tokens.result.agreement < LEAST_AGREEMENT);
  return wrong ? 1 : 0;
}
