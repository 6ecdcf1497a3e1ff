/** Bytes of a plan → Graph, refusing what does not fit together (LUTRA_BAD_PLAN). For tests and the printer; native/plan reads plans when they run. */
import { CPU_OP_NAMES } from './cpu-ops.js';
import { type DType, dtypeOfCode } from './dtype.js';
import { weightMatrix } from './encode.js';
import type { Graph, Node, PlanConfig, Program, Segment, Step } from './graph.js';
import { attrSchema, isNpuOp } from './ops.js';
import {
  ATTR_CODES,
  CONFIG_FIELDS,
  HEADER_BYTES,
  KV_TYPE_CODES,
  NONE,
  PLAN_MAGIC,
  PLAN_VERSION,
  planChecksum,
  QUANT_KIND_CODES,
  RECORD_WORDS,
  ROWS_KIND_CODES,
  SECTION_NAMES,
  SECTION_TABLE_AT,
  SECTIONS,
  type Section,
  storedChecksum,
  TENSOR_KIND_CODES,
} from './plan-format.js';
import { type AttrType, type AttrValue, badPlan, check } from './schema.js';
import { NO_QUANT, type Quant, type Tensor, type TensorId } from './tensor.js';
import { validateGraph } from './validate.js';

/** The key of `codes` whose value is `code`. */
function keyOf<K extends string>(codes: Readonly<Record<K, number>>, code: number, what: string): K {
  for (const key of Object.keys(codes) as K[]) if (codes[key] === code) return key;
  throw badPlan(`${what} ${code}`);
}

class PlanReader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly sections = new Map<Section, { offset: number; count: number }>();
  private tensorCount = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    check(bytes.length >= HEADER_BYTES, () => `a plan of ${bytes.length} bytes`);
    const [magic, version, size, count] = [0, 4, 8, 12].map((at) => this.view.getUint32(at, true));
    check(magic === PLAN_MAGIC, () => 'wrong magic');
    check(version === PLAN_VERSION, () => `plan version ${version}; this build reads ${PLAN_VERSION}`);
    check(size === bytes.length, () => `plan says ${size} bytes but has ${bytes.length}`);
    const [stored, found] = [storedChecksum(bytes), planChecksum(bytes)];
    check(stored === found, () => `its checksum is ${stored}, its bytes give ${found}`);
    check(count === SECTION_NAMES.length, () => `${count} sections`);
    SECTION_NAMES.forEach((name, i) => {
      const at = SECTION_TABLE_AT + 8 * i;
      const [offset, records] = [this.view.getUint32(at, true), this.view.getUint32(at + 4, true)];
      const fits = offset % 8 === 0 && offset >= HEADER_BYTES && offset + records * SECTIONS[name] <= bytes.length;
      check(fits, () => `section ${name} at ${offset} with ${records} records does not fit`);
      this.sections.set(name, { offset, count: records });
    });
  }

  read(): Graph {
    const config = this.config();
    this.tensorCount = this.count('tensors');
    const tensors = this.records('tensors', (words) => this.tensor(words));
    const segments = this.records('segments', (words) => this.segment(words));
    const programs = this.records('programs', (words) => this.program(words));
    return { config, tensors, segments, programs };
  }

  private at(section: Section): { offset: number; count: number } {
    const found = this.sections.get(section);
    if (found === undefined) throw badPlan(`no section ${section}`);
    return found;
  }

  private count(section: Section): number {
    return this.at(section).count;
  }

  /** f64 value `i` of a pool. */
  private value(section: 'config' | 'attrs', i: number): number {
    const { offset, count } = this.at(section);
    check(i < count, () => `value ${i} of ${count} in ${section}`);
    return this.view.getFloat64(offset + 8 * i, true);
  }

  private words(section: keyof typeof RECORD_WORDS, i: number): number[] {
    const { offset, count } = this.at(section);
    const words = RECORD_WORDS[section];
    check(i < count, () => `${section}: record ${i} of ${count}`);
    return Array.from({ length: words }, (_, w) => this.view.getUint32(offset + 4 * (i * words + w), true));
  }

  private records<T>(section: keyof typeof RECORD_WORDS, read: (words: number[]) => T, begin = 0, count = this.count(section)): T[] {
    return Array.from({ length: Math.min(count, this.count(section) + 1) }, (_, i) => read(this.words(section, begin + i)));
  }

  private string(at: number): string {
    const { offset, count } = this.at('strings');
    check(at < count, () => `string at ${at} of ${count}`);
    const end = this.bytes.indexOf(0, offset + at);
    check(end >= 0 && end < offset + count, () => `string at ${at} has no end`);
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.bytes.subarray(offset + at, end));
    } catch {
      throw badPlan(`string at ${at} is not UTF-8`);
    }
  }

  private ids(begin: number, count: number): TensorId[] {
    const pool = this.at('operands');
    check(begin + count <= pool.count, () => `operands ${begin}+${count} of ${pool.count}`);
    return Array.from({ length: count }, (_, i) => this.id(this.view.getUint32(pool.offset + 4 * (begin + i), true)));
  }

  private id(value: number): TensorId {
    check(value < this.tensorCount, () => `tensor ${value} of ${this.tensorCount}`);
    return value as TensorId;
  }

  private config(): PlanConfig {
    check(this.count('config') === CONFIG_FIELDS.length, () => `${this.count('config')} config values`);
    const number = (field: (typeof CONFIG_FIELDS)[number]): number => this.value('config', CONFIG_FIELDS.indexOf(field));
    return {
      vocab: number('vocab'),
      hidden: number('hidden'),
      layers: number('layers'),
      heads: number('heads'),
      kvHeads: number('kvHeads'),
      headDim: number('headDim'),
      maxContext: number('maxContext'),
      chunk: number('chunk'),
      kvType: keyOf(KV_TYPE_CODES, number('kvType'), 'kv type'),
    };
  }

  private tensor(words: number[]): Tensor {
    const [name = 0, dtype = 0, kind = 0, rowsKind = 0, rank = 0] = words;
    const [quantKind = 0, scale = 0, offset = 0, axis = 0, scales = 0, weight = 0, rows = 0, cols = 0] = words.slice(9);
    check(rank >= 1 && rank <= 4, () => `a tensor of rank ${rank}`);
    const dims = words.slice(5, 5 + rank);
    check(
      dims.every((d) => d > 0) && words.slice(5 + rank, 9).every((d) => d === 0),
      () => `shape ${words.slice(5, 9).join(', ')} of rank ${rank}`,
    );
    const kindName = keyOf(TENSOR_KIND_CODES, kind, 'tensor kind');
    const matrix = kindName === 'weight' ? weightMatrix(dims) : { rows: 0, cols: 0 };
    check(matrix.rows === rows && matrix.cols === cols, () => `weight of ${rows} rows and ${cols} columns with shape ${dims.join(', ')}`);
    return {
      name: this.string(name),
      dtype: this.dtype(dtype),
      kind: kindName,
      rows: keyOf(ROWS_KIND_CODES, rowsKind, 'rows kind'),
      dims,
      quant: this.quant(quantKind, scale, offset | 0, axis, scales),
      weight: weight === NONE ? null : this.string(weight),
    };
  }

  private dtype(code: number): DType {
    const dtype = dtypeOfCode(code);
    if (dtype === undefined) throw badPlan(`dtype ${code}`);
    return dtype;
  }

  private quant(kind: number, scaleBits: number, offset: number, axis: number, scales: number): Quant {
    const name = keyOf(QUANT_KIND_CODES, kind, 'encoding kind');
    switch (name) {
      case 'none':
        return NO_QUANT;
      case 'scale':
        return { kind: name, scale: new Float32Array(Uint32Array.of(scaleBits).buffer)[0] ?? 0, offset };
      case 'axis':
        return { kind: name, axis, scales: this.id(scales) };
    }
  }

  private segment(words: number[]): Segment {
    const [name = 0, nodeBegin = 0, nodeCount = 0, inBegin = 0, inCount = 0, outBegin = 0, outCount = 0] = words;
    const nodes = this.records('nodes', (w) => this.node(w), nodeBegin, nodeCount);
    return { name: this.string(name), nodes, inputs: this.ids(inBegin, inCount), outputs: this.ids(outBegin, outCount) };
  }

  private node(words: number[]): Node {
    const [opName = 0, name = 0, inBegin = 0, inCount = 0, outBegin = 0, outCount = 0, attrBegin = 0, attrCount = 0] = words;
    const op = this.string(opName);
    if (!isNpuOp(op)) throw badPlan(`unknown node op ${op}`);
    const schema = attrSchema(op);
    check(schema.length === attrCount, () => `${op} with ${attrCount} attributes instead of ${schema.length}`);
    const attrs: Record<string, AttrValue> = {};
    let at = attrBegin;
    for (const [attrName, type] of schema) {
      const found = this.string(this.value('attrs', at));
      check(found === attrName, () => `${op}: attribute ${found} where ${attrName} is expected`);
      const { value, end } = this.nodeAttr(attrName, type, at + 1);
      attrs[attrName] = value;
      at = end;
    }
    return {
      op,
      name: this.string(name),
      inputs: this.ids(inBegin, inCount),
      outputs: this.ids(outBegin, outCount),
      attrs,
    } as unknown as Node;
  }

  /** An attribute from its type code on. */
  private nodeAttr(name: string, type: AttrType, at: number): { value: AttrValue; end: number } {
    const code = keyOf(ATTR_CODES, this.value('attrs', at), 'attribute type');
    const first = this.value('attrs', at + 1);
    if (code === 'u32One' && type === 'u32s') return { value: { dims: [1], values: [first] }, end: at + 2 };
    if (code === 'u32Tensor' && type === 'u32s') {
      check(first >= 1 && first <= 4 && Number.isInteger(first), () => `attribute ${name} of rank ${first}`);
      const dims = Array.from({ length: first }, (_, i) => this.value('attrs', at + 2 + i));
      const count = dims.reduce((n, d) => n * d, 1);
      check(count >= 1 && count <= 64 && Number.isInteger(count), () => `attribute ${name} of ${count} elements`);
      const values = Array.from({ length: count }, (_, i) => this.value('attrs', at + 2 + first + i));
      return { value: { dims, values }, end: at + 2 + first + count };
    }
    check(code === type, () => `attribute ${name} has type ${code} instead of ${type}`);
    return { value: type === 'bool' ? this.bool(first, name) : first, end: at + 2 };
  }

  private bool(value: number, name: string): boolean {
    check(value === 0 || value === 1, () => `attribute ${name} is ${value}`);
    return value === 1;
  }

  private program(words: number[]): Program {
    const [name = 0, stepBegin = 0, stepCount = 0, logits = 0] = words;
    const text = this.string(name);
    if (text !== 'npu' && text !== 'cpu') throw badPlan(`program ${text}`);
    return { name: text, steps: this.records('steps', (w) => this.step(w), stepBegin, stepCount), logits: this.id(logits) };
  }

  private step(words: number[]): Step {
    const [code = 0, inBegin = 0, inCount = 0, outBegin = 0, outCount = 0, attrBegin = 0] = words;
    const op = CPU_OP_NAMES[code];
    if (op === undefined) throw badPlan(`step op ${code}`);
    const attrs = Object.fromEntries(
      attrSchema(op).map(([name, type], i) => {
        const value = this.value('attrs', attrBegin + i);
        return [name, type === 'bool' ? this.bool(value, name) : value];
      }),
    );
    return { op, inputs: this.ids(inBegin, inCount), outputs: this.ids(outBegin, outCount), attrs } as unknown as Step;
  }
}

/** Decodes and validates: every index, shape, dtype, attribute and the cut into segments. Throws LutraError LUTRA_BAD_PLAN. */
export function decodePlan(bytes: Uint8Array): Graph {
  const graph = new PlanReader(bytes).read();
  validateGraph(graph);
  return graph;
}
