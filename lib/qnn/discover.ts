/** From what a user says about the NPU to the library that stands behind it. */
import { resolve } from 'node:path';
import { inspect } from 'node:util';
import { LutraError } from '../graph/errors.js';
import type { NativeNpu } from '../native/addon.js';

/**
 * `host`: the embedded host NPU. `none`: CPU kernels on the packed weights. `auto`: the library that `LUTRA_QNN_LIBRARY` names, else the
 * host NPU; none for a model without NPU weights. Or a QNN library by path, with the SoC id it shall compile for (57 is SM8650).
 */
export type NpuChoice = 'auto' | 'host' | 'none' | { library: string; soc?: number };

/** QNN counts SoC models in 32 bits. */
const MAX_SOC = 2 ** 32 - 1;

/** `hasWeights`: the model was converted with NPU weights. Throws LUTRA_INVALID_ARGUMENT. */
export function resolveNpu(choice: NpuChoice, hasWeights: boolean): NativeNpu {
  if (choice === 'none') return { kind: 'none' };
  if (choice === 'host') return { kind: 'host' };
  if (choice === 'auto') {
    if (!hasWeights) return { kind: 'none' };
    const library = process.env.LUTRA_QNN_LIBRARY;
    return library ? { kind: 'library', path: resolve(library) } : { kind: 'host' };
  }
  if (typeof choice === 'object' && choice !== null && typeof choice.library === 'string' && choice.library.length > 0) {
    const { library, soc } = choice;
    const unknown = Object.keys(choice).find((key) => key !== 'library' && key !== 'soc');
    if (unknown) throw new LutraError('LUTRA_INVALID_ARGUMENT', `The npu option has no field '${unknown}'.`, 'Known fields: library, soc.');
    if (library.includes('\0')) throw new LutraError('LUTRA_INVALID_ARGUMENT', `${inspect(library)} is not the path of an NPU library.`);
    if (soc !== undefined && (!Number.isInteger(soc) || soc < 0 || soc > MAX_SOC)) {
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `SoC ${String(soc)} is not a QNN SoC id.`, 'Give a number, for example 57 (SM8650).');
    }
    return { kind: 'library', path: resolve(library), ...(soc === undefined ? {} : { soc }) };
  }
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `The npu option is ${inspect(choice, { depth: 0, maxStringLength: 60 })}, which is no NPU.`,
    "Give 'auto', 'host', 'none' or { library: '/path/libQnnHtp.so', soc: 57 }.",
  );
}
