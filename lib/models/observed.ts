/** What calibration observes of linears: the tensors of the float model in the basis that the NPU has them in. Nothing reads them on. */

import type { Encoding } from '../graph/cpu-builder.js';
import { quantLimits } from '../graph/dtype.js';
import type { LinearName } from '../graph/spec.js';
import { scaleQuant, type TensorId } from '../graph/tensor.js';
import { type Decoder, linears } from './blocks.js';
import { checkRange, checkShared, linearKey } from './check-spec.js';
import { gainedSigns, type NormName } from './rotation.js';
import type { Observer } from './sites.js';

/** The norm that made an input, and the residual that it read. */
export interface NormOf {
  norm: NormName;
  residual: TensorId;
}

/** Linears that read `x`. */
interface Observed {
  x: TensorId;
  names: readonly LinearName[];
  weights: readonly TensorId[];
  /** null: `x` is no result of a norm. */
  from: NormOf | null;
}

/** Observes what linears read, what they wrote (`results`) and, where ranges are known, what they write when their input is clipped. */
export function observeLinears(d: Decoder, observer: Observer, layer: number, of: Observed, results: readonly TensorId[]): void {
  observer.observe(of.x, layer, of.names, 'input');
  const input = inputOfNpu(d, of);
  if (input !== of.x) observer.observe(input, layer, of.names, 'rotatedInput');
  observeOutputs(d, observer, layer, of, results, 'output');
  if (observer.calibrate === 'outputs') observeClipped(d, observer, layer, of, input);
}

/** The rotated norm without gains, where the model has a rotation. */
export function inputOfNpu(d: Decoder, { x, from }: Pick<Observed, 'x' | 'from'>): TensorId {
  const rotation = from && d.weights.rotation();
  if (from === null || rotation === null) return x;
  const { name } = d.g.tensor(x);
  const plain = d.g.cpu.rmsNorm(from.residual, d.weights.ones(), d.spec.arch.rmsEps, `${name}.plain`);
  return d.g.cpu.rotate(plain, rotation, false, `${name}.rotated`);
}

/** What of a linear's output reaches the residual stream is rotated: that of linears that read no norm. */
function observeOutputs(
  d: Decoder,
  observer: Observer,
  layer: number,
  { names, from }: Observed,
  results: readonly TensorId[],
  what: 'output' | 'clippedOutput',
): void {
  const rotation = from === null ? d.weights.rotation() : null;
  results.forEach((y, i) => {
    const seen = rotation === null ? y : d.g.cpu.rotate(y, rotation, false, `${d.g.tensor(y).name}.rotated`);
    observer.observe(seen, layer, names.slice(i, i + 1), what);
  });
}

function observeClipped(d: Decoder, observer: Observer, layer: number, of: Observed, input: TensorId): void {
  const { names, from } = of;
  const [first] = names;
  const range = first === undefined ? undefined : d.spec.linears[linearKey(layer, first)]?.input;
  if (range === undefined || range === null) return;
  checkShared(d.spec, layer, names);
  checkRange(range, `${linearKey(layer, first ?? 'q')}: input range`);
  const { name } = d.g.tensor(input);
  const encoding: Encoding = { dtype: range.dtype, quant: scaleQuant(range.scale, range.offset) };
  if (quantLimits(range.dtype).bits === 8) observer.observe(d.g.cpu.clipped(input, encoding, `${name}.clips`), layer, names, 'clips');
  const quantized = d.g.cpu.quantize(input, encoding, `${name}.${range.dtype}`);
  const clipped = d.g.cpu.dequantize(quantized, 'f32', `${name}.clipped`);
  const rotation = from && d.weights.rotation(gainedSigns(layer, from.norm));
  const results = linears(
    d,
    rotation === null ? clipped : d.g.cpu.rotate(clipped, rotation, true, `${name}.back`),
    of.weights,
    names.map((linear) => `l${layer}.${linear}.clipped`),
  );
  observeOutputs(d, observer, layer, of, results, 'clippedOutput');
}
