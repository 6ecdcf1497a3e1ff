/** The flat functions behind `lib/kernels` (native/napi/kernels_api.h). Types are dtype codes of the plan. */

declare const kind: unique symbol;
/** A packed weight of the addon. It can be disposed of or left to the garbage collector, and means nothing outside of it. */
export interface PackedHandle {
  readonly [kind]: 'packed weight';
}

/** Memory that measurements read. */
export interface ArenaHandle {
  readonly [kind]: 'arena';
}

export interface NativeKernel {
  name: string;
  family: 'lut' | 'dot' | 'linear';
  isa: string;
  types: number[];
  /** Whether the processor has the instructions. */
  available: boolean;
  /** What the registry picks it for; `to` null: for any more rows. */
  chosen: { type: number; from: number; to: number | null }[];
}

/** A range of 8 bits: real = (code − zeroPoint) · scale. */
export interface NativeRange {
  scale: number;
  zeroPoint: number;
  signed: boolean;
}

export interface NativeKernels {
  list(): NativeKernel[];
  packValues(type: number, rows: number, columns: number, values: Float32Array, importance: Float32Array | null): PackedHandle;
  packCodes(
    type: number,
    rows: number,
    columns: number,
    codes: Uint8Array,
    scales: Float32Array,
    offsets: Float32Array | null,
  ): PackedHandle;
  packBlocks(type: number, rows: number, columns: number, blocks: Uint8Array): PackedHandle;
  describe(weight: PackedHandle): { type: number; rows: number; columns: number; byteLength: number };
  toBytes(weight: PackedHandle): Uint8Array;
  fromBytes(bytes: Uint8Array): PackedHandle;
  dequantize(weight: PackedHandle): Float32Array;
  /** Returns `y`, or a new array. `n` null: as many rows as x has. */
  gemv(
    weight: PackedHandle,
    x: Float32Array,
    n: number | null,
    y: Float32Array | null,
    kernel: string | null,
    threads: number,
  ): Float32Array;
  dispose(weight: PackedHandle): void;
  shadowLinear(
    codes: Int8Array,
    scales: Float32Array,
    inputs: number,
    outputs: number,
    x: Float32Array | Uint16Array,
    ranges: { input: NativeRange; output: NativeRange },
    base: Float32Array | Uint16Array | null,
    quantized: Int8Array | Uint8Array | null,
    y: Float32Array | null,
    repair: boolean,
    threads: number,
  ): { y: Float32Array; repairedInputs: number; repairedOutputs: number };
  arena(megabytes: number): ArenaHandle;
  /** Microseconds of each of `count` products; cold ones read weights that no product before them has read for as long as the arena is large. */
  timeProducts(
    arena: ArenaHandle,
    kernel: string,
    type: number,
    rows: number,
    columns: number,
    n: number,
    threads: number,
    warm: boolean,
    count: number,
  ): Float64Array;
  /** Microseconds of each of `count` reads of `bytes`, for every kind of load. */
  timeReads(arena: ArenaHandle, bytes: number, threads: number, count: number): { name: string; us: Float64Array }[];
  dropArena(arena: ArenaHandle): void;
}
