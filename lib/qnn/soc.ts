/** SoC models by Qualcomm's number, and the architecture of their DSPs. */
const ARCHITECTURES: ReadonlyMap<number, number> = new Map([
  [30, 68], // SM8350
  [36, 69], // SM8450
  [42, 69], // SM8475
  [43, 73], // SM8550
  [57, 75], // SM8650
  [69, 79], // SM8750
  [87, 81], // SM8850
]);

/** What Qualcomm's runtime takes on x86-64 when it is told nothing. */
const DEFAULT_ON_X64 = 30;

/** The architecture that a library compiles for, or undefined when only the library knows. */
export function archOf(target: { soc?: number | undefined; arch?: number | undefined }): number | undefined {
  if (target.arch !== undefined) return target.arch;
  const soc = target.soc ?? (process.arch === 'x64' ? DEFAULT_ON_X64 : undefined);
  return soc === undefined ? undefined : ARCHITECTURES.get(soc);
}

/** The provider names of the two libraries that lutra knows. */
export const HOST_PROVIDER = 'LUTRA_HOST';
export const HTP_PROVIDER = 'HTP_QTI_AISW';
