/** `lutra doctor`: what works on this machine, what does not, why, and what to do. */
import { dirname, resolve } from 'node:path';
import { type DoctorReport, examine, type Finding, type Level, realSurroundings } from '../doctor/index.js';
import { defaultContextDirectory } from '../qnn/context-cache.js';
import type { Arguments, Command } from './args.js';
import { modelFlags, optional } from './model-flags.js';
import { formatBytes, print, printJson } from './output.js';

export const doctorCommand: Command = {
  name: 'doctor',
  summary: 'Looks at machine, runtime files and NPU, and says what is wrong and what to do. Exit code 1: no NPU; 2: lutra does not work.',
  positionals: [],
  flags: {
    library: { value: 'PATH', help: 'QNN library to look at (default: LUTRA_QNN_LIBRARY, else the first that is found)' },
    soc: modelFlags.soc,
    timeout: { value: 'SECONDS', help: 'how long a call into a library may take (default 5)' },
    cache: modelFlags.cache,
    json: { help: 'print one JSON object' },
  },
  run,
};

async function run(args: Arguments): Promise<void> {
  const cache = args.string('cache');
  const seconds = args.integer('timeout', 1);
  const report = await examine(realSurroundings(cache === undefined ? defaultContextDirectory() : resolve(cache)), {
    ...optional('library', args.string('library')),
    ...optional('soc', args.integer('soc')),
    ...optional('timeoutMs', seconds === undefined ? undefined : seconds * 1000),
  });
  if (args.flag('json')) printJson(report);
  else for (const line of describe(report)) print(line);
  process.exitCode = report.exitCode;
}

const row = (name: string, text: string): string => `${name.padEnd(12)} ${text}`;

function machineLines({ machine, soc }: DoctorReport): string[] {
  const { cpu, memory, storage, pageBytes } = machine;
  const speed = storage.readMegabytesPerSecond;
  return [
    row(
      'system',
      `${machine.system}, Node.js ${machine.node}, Node-API ${machine.napi}${pageBytes === null ? '' : `, pages of ${formatBytes(pageBytes)}`}`,
    ),
    ...(cpu
      ? [
          row('processor', `${cpu.description}: ${cpu.processors} processors, ${cpu.bigCores} fast ones`),
          row('kernels', cpu.kernels.join(', ')),
        ]
      : []),
    row('memory', `${formatBytes(memory.availableBytes)} available of ${formatBytes(memory.totalBytes)}`),
    row('storage', `${storage.directory}: ${speed === null ? 'speed not measured' : `${speed} MB/s`}`),
    row('SoC', soc.known ? `${soc.known.name}, QNN number ${soc.known.id}, DSP v${soc.known.arch}` : (soc.name ?? "none of Qualcomm's")),
  ];
}

function npuLines({ files, adspPath, npu, fastrpc }: DoctorReport): string[] {
  const lines = files.map(({ name, found, stamp }) =>
    row('file', `${name}: ${found ? `${dirname(found)}${stamp ? `, built ${stamp}` : ''}` : 'not found'}`),
  );
  if (adspPath.used !== null) lines.push(row('ADSP path', adspPath.used));
  if (fastrpc) lines.push(row('FastRPC', fastrpc.source ?? 'cannot be used'));
  if (!npu) return lines;
  const { backend, devices, steps } = npu;
  if (backend) lines.push(row('NPU', `${backend.name} ${backend.buildId}: computes what it should, ${steps.length} steps`));
  else lines.push(row('NPU', `stopped while ${steps.at(-1) ?? 'starting'}`));
  for (const { soc, arch, vtcmMb, cores } of devices) {
    if (soc !== undefined) lines.push(row('', `SoC ${soc}, DSP v${arch}, ${vtcmMb} MB of VTCM, ${cores} core${cores === 1 ? '' : 's'}`));
  }
  return lines;
}

const MARKS: Readonly<Record<Level, string>> = { fatal: '✗', error: '✗', warning: '!', note: 'i' };

function findingLines({ level, what, cause, remedy }: Finding): string[] {
  return ['', `${MARKS[level]} ${what}`, `  cause: ${cause}`, ...(remedy ? [`  remedy: ${remedy}`] : [])];
}

const VERDICTS = ['Nothing is wrong.', 'lutra works here, but not on this NPU.', 'lutra does not work here.'] as const;

function describe(report: DoctorReport): string[] {
  return [...machineLines(report), ...npuLines(report), ...report.findings.flatMap(findingLines), '', VERDICTS[report.exitCode]];
}
