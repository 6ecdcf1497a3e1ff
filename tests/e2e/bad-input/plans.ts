/** Encoded plans: damaged, or nonsense under a checksum that fits. Read by the addon, as an engine reads them. */
import { encodePlan } from '../../../lib/graph/index.js';
import { HEADER_BYTES, RECORD_WORDS, SECTION_NAMES, SECTION_TABLE_AT, type Section, sealPlan } from '../../../lib/graph/plan-format.js';
import { buildPlan } from '../../../lib/models/index.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { type BadCase, bad, made, type World } from './case.js';

const check = (plan: unknown): void => loadAddon().checkPlan(plan as Uint8Array);

/** A plan that can be written into. */
class Draft {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor({ files }: World) {
    this.bytes = encodePlan(buildPlan(files.spec, { mode: 'npu', contextSize: 64 }));
    this.view = new DataView(this.bytes.buffer);
  }

  section(name: Section): { at: number; count: number; table: number } {
    const table = SECTION_TABLE_AT + 8 * SECTION_NAMES.indexOf(name);
    return { at: this.view.getUint32(table, true), count: this.view.getUint32(table + 4, true), table };
  }

  /** Overwrites word `word` of a record. */
  word(name: keyof typeof RECORD_WORDS, record: number, word: number, value: number): void {
    this.view.setUint32(this.section(name).at + 4 * (record * RECORD_WORDS[name] + word), value >>> 0, true);
  }

  /** The first record of which word `word` is `value`. */
  find(name: keyof typeof RECORD_WORDS, word: number, value: number): number {
    const { at, count } = this.section(name);
    for (let i = 0; i < count; i++) if (this.view.getUint32(at + 4 * (i * RECORD_WORDS[name] + word), true) === value) return i;
    throw new Error(`no record of ${name} has ${value}`);
  }

  config(field: number, value: number): void {
    this.view.setFloat64(this.section('config').at + 8 * field, value, true);
  }
}

/** Nonsense under a checksum that fits. */
const sealed = (name: string, says: string | RegExp, change: (plan: Draft) => void): BadCase =>
  made(
    name,
    'LUTRA_BAD_PLAN',
    says,
    (world) => {
      const draft = new Draft(world);
      change(draft);
      return sealPlan(draft.bytes);
    },
    check,
  );

/** Bytes that do not even claim to fit. */
const raw = (name: string, says: string | RegExp, make: (good: Uint8Array) => Uint8Array): BadCase =>
  made(name, 'LUTRA_BAD_PLAN', says, (world) => make(new Draft(world).bytes), check);

const argument = (name: string, value: () => unknown): BadCase => bad(name, 'LUTRA_INVALID_ARGUMENT', 'plan', () => check(value()));

const frames: BadCase[] = [
  raw('no bytes', '0 bytes', () => new Uint8Array()),
  raw('half a header', '40 bytes', (good) => good.slice(0, 40)),
  raw('zeros', 'magic', () => new Uint8Array(500)),
  raw('half a plan', 'says', (good) => good.slice(0, good.length >> 1)),
  raw('8 bytes more', 'says', (good) => Uint8Array.of(...good, 0, 0, 0, 0, 0, 0, 0, 0)),
  raw('another magic', 'magic', (good) => good.with(0, 0x4d)),
  raw('version 1', 'version 1', (good) => good.with(4, 1)),
  raw('another checksum', 'checksum', (good) => good.with(16, (good[16] ?? 0) ^ 1)),
  raw('a flipped bit in the middle', 'checksum', (good) => good.with(good.length >> 1, (good[good.length >> 1] ?? 0) ^ 64)),
  sealed('8 sections', '8 sections', ({ view }) => view.setUint32(12, 8, true)),
  sealed('a section that is not aligned', 'section 2', (plan) =>
    plan.view.setUint32(plan.section('tensors').table, plan.section('tensors').at + 4, true),
  ),
  sealed('a section beyond the end', 'section 0', (plan) => plan.view.setUint32(plan.section('config').table, 0xfffffff8, true)),
  sealed('2^32 − 1 tensors', 'section 2', (plan) => plan.view.setUint32(plan.section('tensors').table + 4, 0xffffffff, true)),
  sealed('a section inside the header', /section|config/, (plan) =>
    plan.view.setUint32(plan.section('config').table, HEADER_BYTES & ~7, true),
  ),
  sealed('too few config values', 'config', (plan) => plan.view.setUint32(plan.section('config').table + 4, 8, true)),
  sealed('no programs', 'program', (plan) => plan.view.setUint32(plan.section('programs').table + 4, 0, true)),
];

const configs: BadCase[] = [
  sealed('a vocabulary of NaN', 'config value 0', (plan) => plan.config(0, Number.NaN)),
  sealed('a width of infinity', 'config value 1', (plan) => plan.config(1, Number.POSITIVE_INFINITY)),
  sealed('−1 layers', 'config value 2', (plan) => plan.config(2, -1)),
  sealed('2.5 heads', 'config value 3', (plan) => plan.config(3, 2.5)),
  sealed('3 key heads', '4 heads', (plan) => plan.config(4, 3)),
  sealed('heads of 2^20', 'range', (plan) => plan.config(5, 2 ** 20)),
  sealed('a chunk of 2^20', 'range', (plan) => plan.config(7, 2 ** 20)),
  sealed('a context of 1e300', 'config value 6', (plan) => plan.config(6, 1e300)),
  sealed('a fourth type of KV cache', 'kv type', (plan) => plan.config(8, 3)),
];

const records: BadCase[] = [
  sealed('a tensor of an unknown type', 'dtype 99', (plan) => plan.word('tensors', 0, 1, 99)),
  sealed('a tensor of an unknown kind', 'tensor 0', (plan) => plan.word('tensors', 0, 2, 7)),
  sealed('a tensor of rank 0', 'tensor 0', (plan) => plan.word('tensors', 0, 4, 0)),
  sealed('a tensor of rank 5', 'tensor 0', (plan) => plan.word('tensors', 0, 4, 5)),
  sealed('a dimension of 0', 'shape', (plan) => plan.word('tensors', 0, 5, 0)),
  sealed('dimensions that overflow', 'shape', (plan) => {
    for (const word of [5, 6]) plan.word('tensors', 0, word, 0xffffffff);
  }),
  sealed('a name outside the strings', 'string at', (plan) => plan.word('tensors', 0, 0, 0xfffffff0)),
  sealed('a scale of NaN', 'scale', (plan) => plan.word('tensors', plan.find('tensors', 9, 1), 10, 0x7fc00000)),
  sealed('a scale of 0', 'scale', (plan) => plan.word('tensors', plan.find('tensors', 9, 1), 10, 0)),
  sealed('an axis beyond the rank', 'axis', (plan) => plan.word('tensors', plan.find('tensors', 9, 2), 12, 9)),
  sealed('axis scales that are no tensor', 'axis scales', (plan) => plan.word('tensors', plan.find('tensors', 9, 2), 13, 0x00ffffff)),
  sealed('a weight without a name', 'string at', (plan) => plan.word('tensors', plan.find('tensors', 2, 2), 14, 0xffffffff)),
  sealed('a segment of no nodes', 'segment 0', (plan) => plan.word('segments', 0, 2, 0)),
  sealed('a segment of 2^31 nodes', 'segment 0', (plan) => plan.word('segments', 0, 2, 2 ** 31)),
  sealed('a segment with inputs beyond the pool', 'operands', (plan) => plan.word('segments', 0, 3, 0x7fffffff)),
  sealed('a node without outputs', 'node', (plan) => plan.word('nodes', 0, 5, 0)),
  sealed('a node with parameters beyond the pool', /attributes|parameters/, (plan) => plan.word('nodes', 0, 6, 0x7fffffff)),
  sealed('a node with 2^32 − 1 parameters', /attributes|parameter|string/, (plan) => plan.word('nodes', 0, 7, 0xffffffff)),
  sealed('a step of an unknown op', 'op 99', (plan) => plan.word('steps', 0, 0, 99)),
  sealed('a step of another op', /step|plan/, (plan) => plan.word('steps', 1, 0, 6)),
  sealed('a step with attributes beyond the pool', 'attributes', (plan) => plan.word('steps', plan.find('steps', 0, 4), 5, 0x7fffffff)),
  sealed('a program of 2^31 steps', 'program 0', (plan) => plan.word('programs', 0, 2, 2 ** 31)),
  sealed('logits that are no tensor', 'logits', (plan) => plan.word('programs', 0, 3, 0x00ffffff)),
];

const detached = (): Uint8Array => {
  const bytes = new Uint8Array(100);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
};

const values: BadCase[] = [
  argument('undefined for a plan', () => undefined),
  argument('a number for a plan', () => 7),
  argument('a text for a plan', () => 'plan'),
  argument('a list for a plan', () => [1, 2, 3]),
  argument('words for a plan', () => new Uint32Array(100)),
  argument('a buffer without a view for a plan', () => new ArrayBuffer(100)),
  bad('a detached array for a plan', 'LUTRA_BAD_PLAN', '0 bytes', () => check(detached())),
  bad('shared memory for a plan', 'LUTRA_BAD_PLAN', 'magic', () => check(new Uint8Array(new SharedArrayBuffer(500)))),
];

export const planCases: BadCase[] = [...frames, ...configs, ...records, ...values];
