/** A SoC model: Qualcomm's number in QNN (the kernel counts differently), its name, and the architecture of its DSP. */
export interface Soc {
  readonly id: number;
  readonly name: string;
  readonly arch: number;
}

export const SOCS: readonly Soc[] = [
  { id: 30, name: 'SM8350', arch: 68 },
  { id: 36, name: 'SM8450', arch: 69 },
  { id: 42, name: 'SM8475', arch: 69 },
  { id: 43, name: 'SM8550', arch: 73 },
  { id: 57, name: 'SM8650', arch: 75 },
  { id: 69, name: 'SM8750', arch: 79 },
  { id: 87, name: 'SM8850', arch: 81 },
];

/** What Qualcomm's runtime takes on x86-64 when it is told nothing. */
const DEFAULT_ON_X64 = 30;

/** The architecture that a library compiles for, or undefined when only the library knows. */
export function archOf(target: { soc?: number | undefined; arch?: number | undefined }): number | undefined {
  if (target.arch !== undefined) return target.arch;
  const soc = target.soc ?? (process.arch === 'x64' ? DEFAULT_ON_X64 : undefined);
  return SOCS.find(({ id }) => id === soc)?.arch;
}

/** The provider names of the two libraries that lutra knows. */
export const HOST_PROVIDER = 'LUTRA_HOST';
export const HTP_PROVIDER = 'HTP_QTI_AISW';
