/** `lutra doctor`: what this machine has for lutra, what is missing, why, and what to do. */

import { librarySubject } from '../qnn/health/admission.js';
import { Verdicts } from '../qnn/health/verdicts.js';
import { SOCS, type Soc } from '../qnn/soc.js';
import { checkFiles } from './check-files.js';
import { exitCodeFor, type Finding } from './finding.js';
import { examineMachine, type MachineFacts, tryAddon } from './machine.js';
import { examineNpu, examineRpc, type NpuFacts, type RpcFacts } from './npu.js';
import { findBackend, findCompanions, type RuntimeFile } from './runtime-files.js';
import { type Surroundings, systemText } from './surroundings.js';

export interface DoctorOptions {
  /** Path of a QNN library; default: LUTRA_QNN_LIBRARY, else the first libQnnHtp.so that is found. */
  library?: string;
  /** QNN's SoC id that graphs are compiled for; default: the library's choice, which on a phone is the phone's. */
  soc?: number;
  /** Milliseconds that one call into a library may take; default 5000. */
  timeoutMs?: number;
}

export interface DoctorReport {
  /** Of this object's form. */
  version: 1;
  machine: MachineFacts;
  /** `known`: the entry of lutra's table, with the architecture of the DSP. */
  soc: { name: string | null; known: Soc | null };
  files: RuntimeFile[];
  /** ADSP_LIBRARY_PATH, and what lutra sets it to before it opens the library. */
  adspPath: { current: string | null; used: string | null };
  npu: NpuFacts | null;
  fastrpc: RpcFacts | null;
  findings: Finding[];
  exitCode: 0 | 1 | 2;
}

const DEFAULT_TIMEOUT_MS = 5000;
/** Names of Qualcomm's SoC models; others are other makers'. */
const QUALCOMM = /^(SM|SDM|QCM|QCS|SA|SC|SXR|SSG|QRB)\d/;

function socOf(surroundings: Surroundings): { facts: DoctorReport['soc']; findings: Finding[] } {
  const name = surroundings.property('ro.soc.model') ?? systemText(surroundings, '/sys/devices/soc0/machine') ?? null;
  const known = SOCS.find((soc) => name?.toUpperCase().startsWith(soc.name)) ?? null;
  if (name === null || known || !QUALCOMM.test(name)) return { facts: { name, known }, findings: [] };
  const finding: Finding = {
    id: 'soc-unknown',
    level: 'warning',
    what: `lutra does not know the SoC ${name}.`,
    cause: `It knows ${SOCS.map((soc) => soc.name).join(', ')}.`,
    remedy: 'Without --soc the library chooses by itself; files of the DSP are not checked.',
  };
  return { facts: { name, known }, findings: [finding] };
}

function quarantine({ cache }: Surroundings, library: string, soc: number | undefined): Finding[] {
  const known = new Verdicts(cache).find(librarySubject({ kind: 'library', path: library, ...(soc === undefined ? {} : { soc }) }));
  if (!known || known.good) return [];
  const remedy = '`lutra qnn quarantine --clear` lets it be tested again.';
  return [{ id: 'quarantined', level: 'error', what: `${library} is quarantined.`, cause: `Earlier: ${known.what}.`, remedy }];
}

/** A note where there is nothing to do: no Qualcomm hardware, no library. */
function withoutNpu(surroundings: Surroundings): Finding {
  const what = 'No QNN library is named or found; prompts run on the host NPU, which is part of lutra.';
  return { id: 'no-npu', level: 'note', what, cause: `This ${surroundings.platform} machine shows no Qualcomm SoC.`, remedy: '' };
}

/** Looks at everything; never throws for what it finds, and nothing that a library does ends this process. */
export async function examine(surroundings: Surroundings, options: DoctorOptions = {}): Promise<DoctorReport> {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const addon = tryAddon(surroundings);
  const usable = 'id' in addon ? null : addon;
  const machine = await examineMachine(surroundings, usable);
  const soc = socOf(surroundings);
  const known = soc.facts.known ?? undefined;
  const findings = [...('id' in addon ? [addon] : []), ...machine.findings, ...soc.findings];
  const asked = options.library ?? (surroundings.env.LUTRA_QNN_LIBRARY || undefined);
  const backend = findBackend(surroundings, asked, known?.arch);
  const companions = findCompanions(surroundings, backend.found, known);
  findings.push(...checkFiles(surroundings, backend, companions, known, asked !== undefined));
  const report: DoctorReport = {
    version: 1,
    machine: machine.facts,
    soc: soc.facts,
    files: [backend, ...companions],
    adspPath: { current: surroundings.env.ADSP_LIBRARY_PATH ?? null, used: null },
    npu: null,
    fastrpc: null,
    findings,
    exitCode: 0,
  };
  if (usable && backend.found !== null) {
    report.adspPath.used = usable.qnn.adspPath(backend.found, surroundings.env.ADSP_LIBRARY_PATH ?? '') || null;
    findings.push(...quarantine(surroundings, backend.found, options.soc));
    const npu = await examineNpu(backend.found, options.soc, timeoutMs);
    report.npu = npu.facts;
    findings.push(...npu.findings);
  }
  const fastrpc = companions.find(({ role }) => role === 'fastrpc');
  if (usable && fastrpc) {
    const rpc = await examineRpc(fastrpc, timeoutMs);
    report.fastrpc = rpc.facts;
    findings.push(...rpc.findings);
  }
  if (backend.found === null && asked === undefined && !known) findings.push(withoutNpu(surroundings));
  return { ...report, exitCode: exitCodeFor(findings) };
}
