/** The NPU of a model: which library it is, whether it may be used, and what is used instead. */
import { LutraError, type LutraErrorCode } from '../graph/errors.js';
import type { BackendInfo, NativeEngine, NativeNpu } from '../native/addon.js';
import type { NpuSelection } from '../qnn/discover.js';
import { admit, type LibraryNpu, librarySubject, quarantineError } from '../qnn/health/admission.js';
import type { Subject, Verdict, Verdicts } from '../qnn/health/verdicts.js';

/** What a library can be to blame for. Where another one will do, it is taken. */
const OF_THE_LIBRARY: readonly LutraErrorCode[] = [
  'LUTRA_LIBRARY_NOT_FOUND',
  'LUTRA_NOT_QNN',
  'LUTRA_QNN_VERSION',
  'LUTRA_QNN_CALL',
  'LUTRA_QNN_NODE',
  'LUTRA_QNN_QUARANTINED',
  'LUTRA_NPU_HUNG',
];

export interface NpuPolicy {
  /** Whether unknown libraries are tested, and models on them. */
  check: boolean;
  npuTimeoutMs: number;
  verdicts: Verdicts;
}

export class ModelNpu {
  readonly #policy: NpuPolicy;
  #selection: NpuSelection;
  #backend: BackendInfo | null = null;

  constructor(selection: NpuSelection, policy: NpuPolicy) {
    this.#selection = selection;
    this.#policy = policy;
  }

  get npu(): NativeNpu {
    return this.#selection.npu;
  }

  get npuTimeoutMs(): number {
    return this.#policy.npuTimeoutMs;
  }

  /** Why this one, in words. */
  get why(): string {
    return this.#selection.why;
  }

  /** Identity of the library, when it was tested. */
  get backend(): BackendInfo | null {
    return this.#backend;
  }

  /** Before the library is opened in this process. Tests it when nothing is known about it. Throws as {@link admit}. */
  async admit(): Promise<void> {
    const { npu } = this.#selection;
    if (npu.kind !== 'library') return;
    const { check, verdicts, npuTimeoutMs } = this.#policy;
    if (check) {
      this.#backend = await admit(npu, verdicts, npuTimeoutMs);
      return;
    }
    const subject = librarySubject(npu);
    const known = verdicts.find(subject);
    if (known && !known.good) throw quarantineError(subject, known);
  }

  /** Before the first session of a model on a library. `key`: of plan, weights, library build and SoC. Throws LUTRA_QNN_QUARANTINED, and as the engine does. */
  async admitModel(engine: NativeEngine, model: string, key: string): Promise<void> {
    const { npu } = this.#selection;
    const { check, verdicts } = this.#policy;
    if (npu.kind !== 'library') return;
    const subject: Subject = { path: npu.path, soc: npu.soc ?? null, model, state: { key } };
    const known = verdicts.find(subject);
    if (known?.good || (!known && !check)) return;
    const verdict = known ?? (await this.#judge(engine));
    await verdicts.keep(subject, verdict);
    if (!verdict.good) throw quarantineError(subject, verdict);
  }

  async #judge(engine: NativeEngine): Promise<Verdict> {
    const { right, error, what } = await engine.checkNpu();
    if (right) return { good: true, backend: this.#backend };
    return { good: false, cause: 'wrong', what: `output ${what} has a relative error of ${error.toPrecision(3)} to the host NPU` };
  }

  /** Takes the host NPU when the error is the library's and nobody demanded it. Whether it did. */
  fallBack(error: unknown): boolean {
    const { npu, demanded } = this.#selection;
    if (!(error instanceof LutraError) || !OF_THE_LIBRARY.includes(error.code)) return false;
    if (npu.kind === 'library' && error.code === 'LUTRA_NPU_HUNG') this.reportHang(error.message);
    if (npu.kind !== 'library' || demanded) return false;
    this.#selection = { npu: { kind: 'host' }, why: `instead of ${npu.path}: ${error.message}`, demanded };
    this.#backend = null;
    return true;
  }

  /** A call does not return: this library is not used again, in this process or others. */
  reportHang(what: string): void {
    const { npu } = this.#selection;
    if (npu.kind === 'library')
      void this.#policy.verdicts.keep(librarySubject(npu satisfies LibraryNpu), { good: false, cause: 'hung', what });
  }
}
