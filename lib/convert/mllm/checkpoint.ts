/**
 * An `.mllm` file in the shape of a checkpoint: what it holds by the names of Hugging Face, with config.json and tokenizer of a directory beside it.
 *
 * Files for the NPU have linears in 8 bits: codes [inputs, outputs] with one scale, biases alike, and for each linear the largest inputs and outputs and whether they are cut off there. Such
 * linears are read as the F32 values that the codes stand for. Converters of one time wrote codes and flags as F32 numbers; a scale beside them tells, and they are read as the codes they are.
 */
import { join } from 'node:path';
import { fileError, openFile, readFully } from '../../files/read.js';
import { LutraError } from '../../graph/errors.js';
import { Checkpoint, type CheckpointTensor, readFields } from '../huggingface/checkpoint.js';
import { MllmIndex, type MllmTensor } from './format.js';

const SCALE = '.scale';
/** What converters for the NPU write as codes: linears of layers. An embedding would lie the other way round. */
const CODED = /_proj\.(weight|bias)$/;
const RANGE = /\.(input_scale|output_scale)$/;
const FLAG = /\.(clip_input|clip_output)$/;

/** A tensor whose values are codes times a scale. */
interface Coded {
  tensor: MllmTensor;
  scale: number;
}

const elementsOf = ({ type, begin, end }: MllmTensor): number => ((end - begin) / type.bytes) * type.elements;
const product = (shape: readonly number[]): number => shape.reduce((all, length) => all * length, 1);
const sameShape = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((length, i) => length === b[i]);

export class MllmCheckpoint extends Checkpoint {
  private readonly stored = new Map<string, MllmTensor>();
  private readonly coded = new Map<string, Coded>();
  /** The codes that were read last: rows of outputs are asked for one slab after another. */
  private last: { name: string; codes: Int8Array } | null = null;

  /** Opens a file, with config.json of `directory`. Errors: LUTRA_NOT_FOUND, LUTRA_IO, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED. */
  static async openFile(path: string, directory: string): Promise<MllmCheckpoint> {
    const config = await readFields(join(directory, 'config.json'));
    if (!config) {
      const remedy = `An .mllm file holds tensors only: give the directory of the model's config.json and tokenizer.json.`;
      throw new LutraError('LUTRA_BAD_FILE', `${directory} has no config.json`, remedy);
    }
    const checkpoint = new MllmCheckpoint(path, config, directory);
    try {
      const file = { path, ...(await openFile(path)) };
      checkpoint.files.push(file);
      const { tensors } = await MllmIndex.read(file.handle, file.size, path);
      for (const tensor of tensors) checkpoint.stored.set(tensor.name, tensor);
      await checkpoint.takeScales();
      for (const tensor of checkpoint.stored.values()) checkpoint.list(tensor);
      return checkpoint;
    } catch (error) {
      await checkpoint.close();
      throw fileError(path, error);
    }
  }

  override tensor(name: string, dtypes: readonly string[], shape: readonly number[]): CheckpointTensor {
    const found = this.tensors.get(name);
    const stored = this.stored.get(name);
    if (!found || !stored) return super.tensor(name, dtypes, shape);
    if (stored.type.bytes === 0) {
      throw new LutraError(
        'LUTRA_UNSUPPORTED',
        `${this.path}: tensor ${name} has type ${stored.type.name}`,
        'lutra reads F32, F16, BF16, Q4_0, Q4_1, Q8_0 and I8 with scales from .mllm files: export the model in one of these.',
      );
    }
    const coded = this.coded.has(name);
    if (!dtypes.includes(found.dtype)) return super.tensor(name, dtypes, shape);
    // Codes lie as [inputs, outputs], sometimes as a filter of 1 × 1.
    const held = coded ? shape.toReversed() : shape;
    const filter = [1, 1, ...held];
    if (
      stored.shape ? !sameShape(stored.shape, held) && !(coded && sameShape(stored.shape, filter)) : elementsOf(stored) !== product(held)
    ) {
      const is = stored.shape ? `[${stored.shape.join(', ')}]` : `${elementsOf(stored)} elements`;
      throw this.bad(`tensor ${name} is ${stored.type.name} ${is}; [${held.join(', ')}] is expected`);
    }
    return { ...found, shape: [...shape] };
  }

  /** Of codes, whole rows. */
  override async read(
    tensor: CheckpointTensor,
    from = 0,
    bytes = tensor.end - tensor.begin - from,
    data: Uint8Array = new Uint8Array(bytes),
  ): Promise<Uint8Array> {
    const coded = this.coded.get(tensor.name);
    if (!coded) return super.read(tensor, from, bytes, data);
    if (this.last?.name !== tensor.name) this.last = { name: tensor.name, codes: await this.codes(coded.tensor) };
    const { codes } = this.last;
    const [rows = 1, cols = 1] = tensor.shape;
    const [first, count] = [from / (4 * cols), bytes / (4 * cols)];
    const values = new Float32Array(data.buffer, data.byteOffset, count * cols);
    // Along the rows of the codes, which are columns here.
    for (let col = 0; col < cols; col++) {
      for (let row = 0; row < count; row++) values[row * cols + col] = codes[col * rows + first + row]! * coded.scale;
    }
    return data;
  }

  /** Takes scales, ranges and flags out of the tensors, checked. */
  private async takeScales(): Promise<void> {
    for (const tensor of [...this.stored.values()]) {
      const { name } = tensor;
      const base = name.slice(0, -SCALE.length);
      if (name.endsWith(SCALE) && CODED.test(base)) await this.takeScale(tensor, base);
      else if (RANGE.test(name)) await this.takeRange(tensor);
      else if (FLAG.test(name)) await this.takeFlag(tensor);
    }
    for (const { name, type } of this.stored.values()) {
      if (type.name === 'I8' && !this.coded.has(name))
        throw this.bad(`tensor ${name} has codes of 8 bits and no ${name}${SCALE} that says what they mean`);
    }
  }

  private async takeScale(tensor: MllmTensor, base: string): Promise<void> {
    const of = this.stored.get(base);
    if (!of) throw this.bad(`there is ${tensor.name}, but no tensor ${base}`);
    if (of.type.name !== 'I8' && of.type.name !== 'F32')
      throw this.bad(`tensor ${base} is ${of.type.name} and has a scale; codes of 8 bits are expected`);
    this.coded.set(base, { tensor: of, scale: await this.positive(tensor) });
    this.stored.delete(tensor.name);
  }

  /** lutra finds ranges itself: those of the file forget the sign of what they were found from. */
  private async takeRange(tensor: MllmTensor): Promise<void> {
    this.linearOf(tensor);
    await this.positive(tensor);
  }

  private async takeFlag(tensor: MllmTensor): Promise<void> {
    this.linearOf(tensor);
    const value = await this.number(tensor, ['I8', 'U8', 'BOOL', 'F32']);
    if (value !== 0 && value !== 1) throw this.bad(`${tensor.name} is ${value}; 0 or 1 is expected`);
  }

  private linearOf({ name }: MllmTensor): void {
    const linear = name.slice(0, name.lastIndexOf('.'));
    if (!this.stored.has(`${linear}.weight`)) throw this.bad(`there is ${name}, but no tensor ${linear}.weight`);
    this.stored.delete(name);
  }

  private async positive(tensor: MllmTensor): Promise<number> {
    const value = await this.number(tensor, ['F32']);
    if (value > 0 && Number.isFinite(value)) return value;
    throw this.bad(`${tensor.name} is ${value}; a number above 0 is expected`);
  }

  private async number(tensor: MllmTensor, types: readonly string[]): Promise<number> {
    const { name, type } = tensor;
    if (!types.includes(type.name) || elementsOf(tensor) !== 1) throw this.bad(`${name} is not one number of type ${types.join(' or ')}`);
    const bytes = Buffer.from(await this.bytes(tensor, 0, type.bytes));
    return type.bytes === 4 ? bytes.readFloatLE() : bytes.readInt8();
  }

  private list(tensor: MllmTensor): void {
    const { name, type, begin, end, shape } = tensor;
    const [file] = this.files;
    if (!file) throw new LutraError('LUTRA_INTERNAL', `${this.path} is not open`);
    const elements = type.bytes === 0 ? 0 : elementsOf(tensor);
    if (!Number.isInteger(elements)) throw this.bad(`tensor ${name} has ${end - begin} bytes, which are no whole blocks of ${type.name}`);
    if (shape && type.bytes !== 0 && product(shape) !== elements)
      throw this.bad(`tensor ${name} is ${type.name} [${shape.join(', ')}] in ${end - begin} bytes`);
    const common = { name, shape: shape ?? [elements], file };
    const place = this.coded.has(name) ? { dtype: 'F32', begin: 0, end: 4 * elements } : { dtype: type.name, begin, end };
    this.tensors.set(name, { ...common, ...place });
  }

  private async bytes({ name, begin }: MllmTensor, from: number, bytes: number): Promise<Uint8Array> {
    const [file] = this.files;
    if (!file) throw new LutraError('LUTRA_INTERNAL', `${name}: the file is not open`);
    const data = new Uint8Array(bytes);
    await readFully(file.handle, data, begin + from, file.path);
    return data;
  }

  /** The codes of a tensor; numbers in F32 are codes that were widened. */
  private async codes(tensor: MllmTensor): Promise<Int8Array> {
    const { name, type } = tensor;
    const codes = new Int8Array(elementsOf(tensor));
    const step = 1 << 20;
    for (let at = 0; at < codes.length; at += step) {
      const count = Math.min(step, codes.length - at);
      const data = await this.bytes(tensor, at * type.bytes, count * type.bytes);
      const values = type.bytes === 1 ? new Int8Array(data.buffer) : new Float32Array(data.buffer);
      codes.set(values, at);
      if (type.bytes === 1) continue;
      const wrong = values.findIndex((value, i) => value !== codes[at + i]);
      if (wrong >= 0)
        throw this.bad(`tensor ${name} has a scale, but element ${at + wrong} is ${values[wrong]}, which is no code of 8 bits`);
    }
    return codes;
  }
}
