/** A device test from a PC: packs, pushes, runs `lutra device-test --here` on the device, and brings the report back. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { LutraError } from '../graph/errors.js';
import type { DeviceReport } from './report.js';
import { stagePackage } from './stage.js';
import { quoted, type Transport } from './transport.js';

export interface RemoteOptions {
  /** Command or path of Node.js on the device; default `node`. */
  node?: string;
  /** Node.js program to push, where the device has none. */
  pushNode?: string;
  /** Folder with a QNN runtime for the device, which is pushed; its libQnnHtp.so is tested. */
  runtime?: string;
  /** Flags for the run on the device. */
  flags?: readonly string[];
  /** What is done now, and what the device says. */
  onLine?: (line: string) => void;
}

export interface RemoteResult {
  /** Null when the device was lost before its first part was done. */
  report: DeviceReport | null;
  /** What went wrong on the way; the report then has what was known until then. */
  error: LutraError | null;
}

/** Throws LUTRA_IO, LUTRA_NOT_FOUND while nothing has been measured; later failures are part of the result. */
export async function testRemote(directory: string, transport: Transport, options: RemoteOptions = {}): Promise<RemoteResult> {
  const { runtime, pushNode, onLine = () => undefined } = options;
  const { folder } = transport;
  const local = await mkdtemp(join(tmpdir(), 'lutra-device-test-'));
  const place = (...parts: string[]) => [folder, ...parts].join('/');
  try {
    onLine(`packing for ${transport.name}`);
    await stagePackage(join(local, 'package'));
    if ((await transport.run(`rm -rf ${quoted(folder)} && mkdir -p ${quoted(folder)}`)) !== 0)
      throw new LutraError(
        'LUTRA_IO',
        `${transport.name} cannot make the folder ${folder}.`,
        'Check that it is connected, unlocked, and has room.',
      );
    const pushes: [string, string][] = [
      [join(local, 'package'), place('package')],
      [directory, place('model')],
      ...(runtime === undefined ? [] : [[runtime, place('runtime')] as [string, string]]),
      ...(pushNode === undefined ? [] : [[pushNode, place('node')] as [string, string]]),
    ];
    for (const [from, to] of pushes) {
      onLine(`pushing ${basename(from)}`);
      await transport.push(from, to);
    }
    return await runThere(transport, options, local, place);
  } finally {
    await rm(local, { recursive: true, force: true });
  }
}

async function runThere(
  transport: Transport,
  { node = 'node', pushNode, runtime, flags = [], onLine }: RemoteOptions,
  local: string,
  place: (...parts: string[]) => string,
): Promise<RemoteResult> {
  const program = pushNode === undefined ? [node] : [place('node')];
  const library = runtime === undefined ? [] : ['--library', place('runtime', 'libQnnHtp.so')];
  const command = [
    ...program,
    ...[
      place('package', 'dist/cli/main.js'),
      'device-test',
      place('model'),
      '--here',
      '-o',
      place('report.json'),
      '--cache',
      place('cache'),
    ],
    ...[...library, ...flags],
  ];
  const lines: string[] = [];
  const code = await transport.run(command.map(quoted).join(' '), (line) => {
    lines.push(line);
    onLine?.(line);
  });
  const file = join(local, 'report.json');
  let report: DeviceReport | null = null;
  let lost: unknown;
  try {
    await transport.pull(place('report.json'), file);
    report = JSON.parse(await readFile(file, 'utf8')) as DeviceReport;
  } catch (error) {
    lost = error;
  }
  // 1 is the verdict of a whole report.
  const whole = report !== null && Object.values(report.parts).every((part) => part.state !== 'skipped' || part.why !== 'not reached');
  if (whole && (code === 0 || code === 1)) return { report, error: null };
  const last = lines.at(-1) ?? 'it said nothing';
  const message = `The test on ${transport.name} ended early, with exit code ${code}: ${last}`;
  return {
    report,
    error: new LutraError('LUTRA_IO', message, 'Check that the device is still connected; the report has what was measured before.', {
      cause: lost,
    }),
  };
}
