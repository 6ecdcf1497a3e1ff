/** From what a user says about the NPU to the library that stands behind it. */
import { resolve } from 'node:path';
import { inspect } from 'node:util';
import { LutraError } from '../graph/errors.js';
import type { NativeNpu } from '../native/addon.js';

/**
 * `host`: the embedded host NPU. `none`: CPU kernels on the packed weights. `auto`: the library that `LUTRA_QNN_LIBRARY` names, and the host NPU when there is none or it
 * cannot be used; none for a model without NPU weights. `require`: that library or an error. Or a QNN library by path, with the SoC id it shall compile for (57 is
 * SM8650); or an error.
 */
export type NpuChoice = 'auto' | 'require' | 'host' | 'none' | { library: string; soc?: number };

/** QNN counts SoC models in 32 bits. */
const MAX_SOC = 2 ** 32 - 1;

/** What was chosen, before anybody looked whether it works. */
export interface NpuSelection {
  npu: NativeNpu;
  /** In words: "option npu". */
  why: string;
  /** Nothing else will do. */
  demanded: boolean;
}

const VARIABLE = 'LUTRA_QNN_LIBRARY';

/** The library that the environment names, or what `auto` takes without one. */
function fromEnvironment(choice: 'auto' | 'require', hasWeights: boolean): NpuSelection {
  const demanded = choice === 'require';
  if (!hasWeights && demanded)
    throw new LutraError('LUTRA_UNSUPPORTED', 'The model has no NPU weights.', "Convert it without 'cpuOnly', or use npu 'auto'.");
  if (!hasWeights) return { npu: { kind: 'none' }, why: 'the model has no NPU weights', demanded };
  const library = process.env[VARIABLE];
  if (library) return { npu: { kind: 'library', path: resolve(library) }, why: `${VARIABLE} names it`, demanded };
  if (demanded)
    throw new LutraError(
      'LUTRA_LIBRARY_NOT_FOUND',
      `No NPU library is named: ${VARIABLE} is not set.`,
      'Set it to the path of libQnnHtp.so.',
    );
  return { npu: { kind: 'host' }, why: `${VARIABLE} names no library`, demanded };
}

/** `hasWeights`: the model was converted with NPU weights. Throws LUTRA_INVALID_ARGUMENT, LUTRA_UNSUPPORTED, LUTRA_LIBRARY_NOT_FOUND. */
export function resolveNpu(choice: NpuChoice, hasWeights: boolean): NpuSelection {
  const asked = (npu: NativeNpu): NpuSelection => ({ npu, why: 'option npu', demanded: true });
  if (choice === 'none' || choice === 'host') return asked({ kind: choice });
  if (choice === 'auto' || choice === 'require') return fromEnvironment(choice, hasWeights);
  if (typeof choice === 'object' && choice !== null && typeof choice.library === 'string' && choice.library.length > 0) {
    const { library, soc } = choice;
    const unknown = Object.keys(choice).find((key) => key !== 'library' && key !== 'soc');
    if (unknown) throw new LutraError('LUTRA_INVALID_ARGUMENT', `The npu option has no field '${unknown}'.`, 'Known fields: library, soc.');
    if (library.includes('\0')) throw new LutraError('LUTRA_INVALID_ARGUMENT', `${inspect(library)} is not the path of an NPU library.`);
    if (soc !== undefined && (!Number.isInteger(soc) || soc < 0 || soc > MAX_SOC)) {
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `SoC ${String(soc)} is not a QNN SoC id.`, 'Give a number, for example 57 (SM8650).');
    }
    return asked({ kind: 'library', path: resolve(library), ...(soc === undefined ? {} : { soc }) });
  }
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `The npu option is ${inspect(choice, { depth: 0, maxStringLength: 60 })}, which is no NPU.`,
    "Give 'auto', 'require', 'host', 'none' or { library: '/path/libQnnHtp.so', soc: 57 }.",
  );
}
