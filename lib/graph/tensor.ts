/** Tensors of a graph: ids, types and shapes. */
import type { DType } from './dtype.js';

declare const tensorBrand: unique symbol;
/** Index of a tensor in {@link Graph.tensors}. Branded, so that a layer number cannot pass for one. */
export type TensorId = number & { readonly [tensorBrand]: true };

/** How integers stand for reals. `scale`: real = (q + offset) · scale, QNN's convention; `axis`: scale per index of one axis (F32 tensor), offset 0. */
export type Quant =
  | { readonly kind: 'none' }
  | { readonly kind: 'scale'; readonly scale: number; readonly offset: number }
  | { readonly kind: 'axis'; readonly axis: number; readonly scales: TensorId };

export const NO_QUANT: Quant = { kind: 'none' };

/** What dims[0] of an activation means: exact, the chunk (only the valid rows count), or at most the chunk: the rows whose logits are wanted. */
export const ROWS_KINDS = ['fixed', 'chunk', 'logits'] as const;
export type RowsKind = (typeof ROWS_KINDS)[number];

/** activation: memory of the executor; internal: lives inside one segment; weight: comes from a model file. */
export const TENSOR_KINDS = ['activation', 'internal', 'weight'] as const;
export type TensorKind = (typeof TENSOR_KINDS)[number];

/** What ops check and infer. */
export interface TensorType {
  readonly dtype: DType;
  readonly rows: RowsKind;
  readonly dims: readonly number[];
  readonly quant: Quant;
}

export interface Tensor extends TensorType {
  readonly name: string;
  readonly kind: TensorKind;
  /** Name in a model file; null unless `kind` is weight. */
  readonly weight: string | null;
}

/** Scale and offset encoding; the scale is rounded to the F32 that the plan stores. */
export function scaleQuant(scale: number, offset: number): Quant {
  return { kind: 'scale', scale: Math.fround(scale), offset };
}

export function sameQuant(a: Quant, b: Quant): boolean {
  switch (a.kind) {
    case 'none':
      return b.kind === 'none';
    case 'scale':
      return b.kind === 'scale' && a.scale === b.scale && a.offset === b.offset;
    case 'axis':
      return b.kind === 'axis' && a.axis === b.axis && a.scales === b.scales;
  }
}

export function sameDims(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

export function elements(dims: readonly number[]): number {
  return dims.reduce((n, d) => n * d, 1);
}

/** "f16[chunk 128, 576]", "u8[chunk 128, 576] (q-128)*0.0123", "s8[576, 576] axis 0 by layers.0.q.scale". */
export function formatType(t: TensorType, as: { nameOf?: (id: TensorId) => string; number?: (value: number) => string } = {}): string {
  const { nameOf = (id) => `#${id}`, number = String } = as;
  const dims = t.dims.map((d, i) => (i === 0 && t.rows !== 'fixed' ? `${t.rows} ${d}` : `${d}`)).join(', ');
  const base = `${t.dtype}[${dims}]`;
  switch (t.quant.kind) {
    case 'none':
      return base;
    case 'scale':
      return `${base} (q${t.quant.offset < 0 ? '-' : '+'}${Math.abs(t.quant.offset)})*${number(t.quant.scale)}`;
    case 'axis':
      return `${base} axis ${t.quant.axis} by ${nameOf(t.quant.scales)}`;
  }
}
