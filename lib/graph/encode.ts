/** Graph → bytes of a plan. The same graph gives the same bytes. */
import { CPU_OP_NAMES } from './cpu-ops.js';
import { DTYPES } from './dtype.js';
import type { Graph, Node, Step } from './graph.js';
import { type AnyAttrs, attrSchema } from './ops.js';
import {
  ATTR_CODES,
  HEADER_BYTES,
  KV_TYPE_CODES,
  NONE,
  PLAN_MAGIC,
  PLAN_VERSION,
  QUANT_KIND_CODES,
  ROWS_KIND_CODES,
  SECTION_NAMES,
  SECTION_TABLE_AT,
  SECTIONS,
  type Section,
  sealPlan,
  TENSOR_KIND_CODES,
} from './plan-format.js';
import { type AttrType, type AttrValue, badPlan } from './schema.js';
import type { Tensor, TensorId } from './tensor.js';

/** Bytes of an F32 as a word. */
function f32Bits(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;
}

/** UTF-8 strings, each once, in order of first use. */
class Strings {
  readonly bytes: number[] = [];
  private readonly offsets = new Map<string, number>();

  offset(text: string): number {
    const known = this.offsets.get(text);
    if (known !== undefined) return known;
    if (text.includes('\0')) throw badPlan(`name ${JSON.stringify(text)} contains NUL`);
    const at = this.bytes.length;
    this.bytes.push(...new TextEncoder().encode(text), 0);
    this.offsets.set(text, at);
    return at;
  }
}

/** Rows (outputs) and columns (inputs) of a weight by its shape: vector, [rows, cols], or Conv2d 1×1 [1, 1, in, out]. */
export function weightMatrix(dims: readonly number[]): { rows: number; cols: number } {
  const [a = 0, b = 0, c = 0, d = 0] = dims;
  switch (dims.length) {
    case 1:
      return { rows: 1, cols: a };
    case 2:
      return { rows: a, cols: b };
    case 4:
      return { rows: d, cols: c };
    default:
      throw badPlan(`a weight of rank ${dims.length}`);
  }
}

class PlanWriter {
  private readonly strings = new Strings();
  private readonly operands: number[] = [];
  private readonly attrs: number[] = [];
  private readonly tensors: number[] = [];
  private readonly segments: number[] = [];
  private readonly nodes: number[] = [];
  private readonly steps: number[] = [];
  private readonly programs: number[] = [];

  private readonly graph: Graph;

  constructor(graph: Graph) {
    this.graph = graph;
  }

  write(): Uint8Array {
    for (const tensor of this.graph.tensors) this.tensor(tensor);
    for (const segment of this.graph.segments) {
      const begin = this.nodes.length / 8;
      for (const node of segment.nodes) this.node(node);
      this.segments.push(
        this.strings.offset(segment.name),
        begin,
        segment.nodes.length,
        ...this.ids(segment.inputs),
        ...this.ids(segment.outputs),
        0,
      );
    }
    for (const program of this.graph.programs) {
      const begin = this.steps.length / 6;
      for (const step of program.steps) this.step(step);
      this.programs.push(this.strings.offset(program.name), begin, program.steps.length, program.logits);
    }
    return this.assemble();
  }

  private tensor(t: Tensor): void {
    const { rows, cols } = t.kind === 'weight' ? weightMatrix(t.dims) : { rows: 0, cols: 0 };
    const dims = [0, 1, 2, 3].map((i) => t.dims[i] ?? 0);
    const q = t.quant;
    if (DTYPES[t.dtype].code === 0) throw badPlan(`${t.name} is ${t.dtype}, which a plan cannot hold`);
    this.tensors.push(
      this.strings.offset(t.name),
      DTYPES[t.dtype].code,
      TENSOR_KIND_CODES[t.kind],
      ROWS_KIND_CODES[t.rows],
      t.dims.length,
      ...dims,
      QUANT_KIND_CODES[q.kind],
      q.kind === 'scale' ? f32Bits(q.scale) : 0,
      q.kind === 'scale' ? q.offset >>> 0 : 0,
      q.kind === 'axis' ? q.axis : 0,
      q.kind === 'axis' ? q.scales : NONE,
      t.weight === null ? NONE : this.strings.offset(t.weight),
      rows,
      cols,
      0,
    );
  }

  /** {begin, count} of ids in the operand pool. */
  private ids(ids: readonly TensorId[]): [number, number] {
    const begin = this.operands.length;
    this.operands.push(...ids);
    return [begin, ids.length];
  }

  private node(node: Node): void {
    const attrs: AnyAttrs = node.attrs;
    const schema = attrSchema(node.op);
    const begin = this.attrs.length;
    for (const [name, type] of schema) this.nodeAttr(name, type, attrValue(attrs, name));
    this.nodes.push(
      this.strings.offset(node.op),
      this.strings.offset(node.name),
      ...this.ids(node.inputs),
      ...this.ids(node.outputs),
      begin,
      schema.length,
    );
  }

  private nodeAttr(name: string, type: AttrType, value: AttrValue): void {
    if (type === 'i32s') throw badPlan(`attribute ${name} is a signed tensor, which a plan cannot hold`);
    const at = this.strings.offset(name);
    if (typeof value === 'object') {
      if (value.dims.length === 1 && value.values.length === 1) this.attrs.push(at, ATTR_CODES.u32One, ...value.values);
      else this.attrs.push(at, ATTR_CODES.u32Tensor, value.dims.length, ...value.dims, ...value.values);
      return;
    }
    if (type === 'f64' || type === 'u32s') throw badPlan(`attribute ${name} of type ${type} in a node`);
    this.attrs.push(at, ATTR_CODES[type], Number(value));
  }

  private step(step: Step): void {
    const attrs: AnyAttrs = step.attrs;
    const begin = this.attrs.length;
    for (const [name] of attrSchema(step.op)) {
      const value = attrValue(attrs, name);
      if (typeof value === 'object') throw badPlan(`attribute ${name} of step ${step.op} is a tensor`);
      this.attrs.push(Number(value));
    }
    this.steps.push(CPU_OP_NAMES.indexOf(step.op), ...this.ids(step.inputs), ...this.ids(step.outputs), begin);
  }

  private config(): number[] {
    const c = this.graph.config;
    return [c.vocab, c.hidden, c.layers, c.heads, c.kvHeads, c.headDim, c.maxContext, c.chunk, KV_TYPE_CODES[c.kvType]];
  }

  private assemble(): Uint8Array {
    const content: Record<Section, number[]> = {
      config: this.config(),
      strings: this.strings.bytes,
      tensors: this.tensors,
      segments: this.segments,
      nodes: this.nodes,
      steps: this.steps,
      programs: this.programs,
      operands: this.operands,
      attrs: this.attrs,
    };
    const size = SECTION_NAMES.reduce((at, name) => align(at) + content[name].length * elementBytes(name), HEADER_BYTES);
    const file = new Uint8Array(align(size));
    const view = new DataView(file.buffer);
    [PLAN_MAGIC, PLAN_VERSION, file.length, SECTION_NAMES.length].forEach((word, i) => {
      view.setUint32(4 * i, word, true);
    });
    let at = HEADER_BYTES;
    SECTION_NAMES.forEach((name, i) => {
      at = align(at);
      const values = content[name];
      const width = elementBytes(name);
      view.setUint32(SECTION_TABLE_AT + 8 * i, at, true);
      view.setUint32(SECTION_TABLE_AT + 8 * i + 4, (values.length * width) / SECTIONS[name], true);
      for (const value of values) {
        if (width === 8) view.setFloat64(at, value, true);
        else if (width === 4) view.setUint32(at, value, true);
        else view.setUint8(at, value);
        at += width;
      }
    });
    return sealPlan(file);
  }
}

function attrValue(attrs: AnyAttrs, name: string): AttrValue {
  const value = attrs[name];
  if (value === undefined) throw badPlan(`attribute ${name} is missing`);
  return value;
}

/** Bytes of the elements a section is made of: f64, u32 or byte. */
function elementBytes(section: Section): 1 | 4 | 8 {
  if (section === 'config' || section === 'attrs') return 8;
  return section === 'strings' ? 1 : 4;
}

function align(at: number): number {
  return (at + 7) & ~7;
}

export function encodePlan(graph: Graph): Uint8Array {
  return new PlanWriter(graph).write();
}
