/** A plan as text: what goldens compare and people read. Shows everything that the binary holds, ids aside. */
import type { Graph, Node, Step } from './graph.js';
import { type AnyAttrs, attrSchema } from './ops.js';
import { CONFIG_FIELDS, PLAN_VERSION } from './plan-format.js';
import { type AttrValue, badPlan } from './schema.js';
import { formatType, type TensorId, type TensorType } from './tensor.js';

/** The shortest decimal that reads back as the same value, as an F32 when it is one. */
export function formatNumber(value: number): string {
  if (Math.fround(value) !== value) return String(value);
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return String(short);
  }
  return String(Number(value.toPrecision(9)));
}

class Printer {
  private readonly lines: string[] = [];
  private readonly graph: Graph;

  constructor(graph: Graph) {
    this.graph = graph;
  }

  print(): string {
    const { config, tensors, programs } = this.graph;
    this.lines.push(`plan ${PLAN_VERSION}: ${CONFIG_FIELDS.map((field) => `${field} ${config[field]}`).join(', ')}`, 'weights');
    for (const t of tensors)
      if (t.kind === 'weight') this.lines.push(`  ${this.typed(t.name, t)}${t.weight === t.name ? '' : ` = ${t.weight}`}`);
    for (const program of programs) {
      this.lines.push(`program ${program.name} -> ${this.name(program.logits)}`);
      for (const step of program.steps) this.step(step);
    }
    return `${this.lines.join('\n')}\n`;
  }

  private step(step: Step): void {
    if (step.op !== 'segment') {
      this.lines.push(`  ${this.call(step)}`);
      return;
    }
    const segment = this.graph.segments[step.attrs.segment];
    if (segment === undefined) throw badPlan(`no segment ${step.attrs.segment}`);
    this.lines.push(`  segment ${segment.name}(${this.names(step.inputs)}) -> ${this.names(step.outputs)}`);
    for (const node of segment.nodes) {
      const own = node.name === this.name(node.outputs[0]) ? '' : ` as ${node.name}`;
      this.lines.push(`    ${this.call(node)}${own}`);
    }
  }

  private call(op: Step | Node): string {
    const attrs: AnyAttrs = op.attrs;
    const shown = attrSchema(op.op).map(([name]) => `${name} ${formatAttr(attrs[name])}`);
    const outputs = op.outputs.map((id) => this.typed(this.name(id), this.tensor(id)));
    return `${op.op}(${this.names(op.inputs)})${shown.length > 0 ? ` {${shown.join(', ')}}` : ''}${outputs.length > 0 ? ` -> ${outputs.join('; ')}` : ''}`;
  }

  private tensor(id: TensorId | undefined): TensorType & { name: string } {
    const t = id === undefined ? undefined : this.graph.tensors[id];
    if (t === undefined) throw badPlan(`no tensor ${id}`);
    return t;
  }

  private name(id: TensorId | undefined): string {
    return this.tensor(id).name;
  }

  private names(ids: readonly TensorId[]): string {
    return ids.map((id) => this.name(id)).join(', ');
  }

  private typed(name: string, type: TensorType): string {
    return `${name}: ${formatType(type, { nameOf: (id) => this.name(id), number: formatNumber })}`;
  }
}

function formatAttr(value: AttrValue | undefined): string {
  switch (typeof value) {
    case 'number':
      return formatNumber(value);
    case 'object':
      return `[${value.dims.join('x')}: ${value.values.join(' ')}]`;
    default:
      return String(value);
  }
}

export function printPlan(graph: Graph): string {
  return new Printer(graph).print();
}
