/** What the inputs and outputs of a finalized graph are, as plain data that survives JSON. */
import { LutraError } from '../../graph/errors.js';
import type { NativeTensor } from '../../native/qnn-addon.js';
import { type DType, dtypeOfCode, QNN_DTYPES } from './dtype.js';
import type { Encoding } from './encoding.js';
import type { Dims } from './tensor.js';

export interface TensorSignature {
  /** By which the library knows the tensor. */
  readonly id: number;
  readonly name: string;
  readonly dtype: DType;
  readonly dims: Dims;
  /** Of graph inputs and outputs; one with scales on an axis is not kept, since no library computes with it. */
  readonly encoding?: Extract<Encoding, { kind: 'scaleOffset' | 'bw' }>;
}

export interface GraphSignature {
  readonly name: string;
  readonly inputs: readonly TensorSignature[];
  readonly outputs: readonly TensorSignature[];
}

export function tensorSignature(id: number, name: string, dtype: DType, dims: Dims, encoding: Encoding | undefined): TensorSignature {
  const kept = encoding?.kind === 'scaleOffset' || encoding?.kind === 'bw' ? { encoding } : {};
  return { id, name, dtype, dims: [...dims], ...kept };
}

/** From what the addon read in a binary. Throws LUTRA_UNSUPPORTED for a type that has no array. */
export function signatureOfNative(tensor: NativeTensor & { id: number }): TensorSignature {
  const dtype = dtypeOfCode(tensor.dtype);
  if (dtype === undefined) {
    throw new LutraError('LUTRA_UNSUPPORTED', `Tensor '${tensor.name}' of the context binary is of type 0x${tensor.dtype.toString(16)}.`);
  }
  return tensorSignature(tensor.id, tensor.name, dtype, tensor.dims, tensor.encoding);
}

/** For the addon. */
export function nativeSignature(tensor: TensorSignature): NativeTensor & { id: number } {
  const { id, name, dtype, dims, encoding } = tensor;
  return { id, name, dtype: QNN_DTYPES[dtype].code, dims: [...dims], ...(encoding ? { encoding: { ...encoding } } : {}) };
}

function isTensor(value: unknown): value is TensorSignature {
  if (typeof value !== 'object' || value === null) return false;
  const { id, name, dtype, dims } = value as Record<string, unknown>;
  const known = typeof dtype === 'string' && Object.hasOwn(QNN_DTYPES, dtype);
  return Number.isInteger(id) && typeof name === 'string' && known && Array.isArray(dims) && dims.every(Number.isInteger);
}

/** Whether JSON holds a signature. */
export function isSignature(value: unknown): value is GraphSignature {
  if (typeof value !== 'object' || value === null) return false;
  const { name, inputs, outputs } = value as Record<string, unknown>;
  return typeof name === 'string' && Array.isArray(inputs) && inputs.every(isTensor) && Array.isArray(outputs) && outputs.every(isTensor);
}
