/** `lutra device-test`: a report of what a device can do, here or over adb or ssh. */
import { resolve } from 'node:path';
import { pageOf } from '../device/page.js';
import { type DeviceReport, PART_NAMES, type PartName, verdictOf } from '../device/report.js';
import { testHere } from '../device/test-here.js';
import { testRemote } from '../device/test-remote.js';
import { adb, ssh, type Transport } from '../device/transport.js';
import { prepareFile, writeFileWhole } from '../files/write.js';
import { defaultContextDirectory } from '../qnn/context-cache.js';
import { type Arguments, type Command, UsageError } from './args.js';
import { modelFlags, optional } from './model-flags.js';
import { note, ProgressBar, print, printJson } from './output.js';

export const deviceTestCommand: Command = {
  name: 'device-test',
  summary:
    'Tests and measures a device with a model: runtime, kernels, conformance, tokens, speed, precisions. Exit code 1: something is wrong.',
  positionals: ['DIR'],
  flags: {
    here: { help: 'this machine' },
    adb: { help: "a phone at Android's debug bridge" },
    serial: { value: 'ID', help: 'which one of several' },
    ssh: { value: 'HOST', help: 'a machine with an ssh server, keys set up (Termux: pkg install openssh)' },
    node: { value: 'PATH', help: 'Node.js on the device (default node)' },
    'push-node': { value: 'FILE', help: 'Node.js program for the device, copied there' },
    runtime: { value: 'FOLDER', help: 'QNN runtime for the device, copied there; its libQnnHtp.so is tested' },
    library: { value: 'PATH', help: 'QNN library on the device to test (default: the host NPU)' },
    soc: modelFlags.soc,
    sample: { value: 'N', help: 'only every N-th case of the conformance table' },
    runs: { value: 'N', help: 'how often each timing is taken (default 5)' },
    skip: { value: 'PART', multiple: true, help: `leave a part out: ${PART_NAMES.join(', ')}` },
    output: { value: 'FILE', short: 'o', help: 'where the report goes, as JSON; a page beside it as .html (default device-report.json)' },
    cache: modelFlags.cache,
    json: { help: 'print the report, too' },
  },
  run,
};

const isPart = (name: string): name is PartName => PART_NAMES.some((part) => part === name);

async function write(file: string, report: DeviceReport): Promise<void> {
  await writeFileWhole(file, [Buffer.from(`${JSON.stringify(report, null, 1)}\n`)]);
  await writeFileWhole(file.replace(/(\.json)?$/, '.html'), [Buffer.from(pageOf(report))]);
}

/** Flags that the run on the device gets as they are. */
const PASSED_ON = ['library', 'soc', 'sample', 'runs', 'skip'] as const;

/** Null: this machine. */
function transportOf(args: Arguments): Transport | null {
  const host = args.string('ssh');
  const ways = [args.flag('here'), args.flag('adb'), host !== undefined].filter(Boolean).length;
  if (ways !== 1) throw new UsageError('lutra device-test needs one of --here, --adb and --ssh HOST.');
  if (host !== undefined) return ssh(host);
  return args.flag('adb') ? adb(args.string('serial')) : null;
}

async function runRemote(args: Arguments, transport: Transport, file: string): Promise<void> {
  const flags = PASSED_ON.flatMap((name) => args.list(name).flatMap((value) => [`--${name}`, value]));
  const { report, error } = await testRemote(args.positionals[0] ?? '', transport, {
    flags,
    onLine: note,
    ...optional('node', args.string('node')),
    ...optional('pushNode', args.string('push-node')),
    ...optional('runtime', args.string('runtime')),
  });
  if (report) await conclude(args, report, file);
  if (error) throw error;
}

/** Writes and prints a report, and sets the exit code. */
async function conclude(args: Arguments, report: DeviceReport, file: string): Promise<void> {
  await write(file, report);
  if (args.flag('json')) printJson(report);
  else
    for (const [name, part] of Object.entries(report.parts))
      print(`${name.padEnd(12)} ${part.state === 'failed' ? part.error.message : part.state}`);
  note(`The report is in ${file}.`);
  process.exitCode = verdictOf(report);
}

async function run(args: Arguments): Promise<void> {
  const transport = transportOf(args);
  const skip = args.list('skip').map((name) => {
    if (!isPart(name)) throw new UsageError(`--skip ${name}: the parts are ${PART_NAMES.join(', ')}.`);
    return name;
  });
  const file = resolve(args.string('output') ?? 'device-report.json');
  await prepareFile(file);
  if (transport) return runRemote(args, transport, file);
  const cache = args.string('cache');
  const bar = new ProgressBar();
  const report = await testHere(args.positionals[0] ?? '', {
    cache: cache === undefined ? defaultContextDirectory() : resolve(cache),
    skip,
    ...optional('library', args.string('library')),
    ...optional('soc', args.integer('soc')),
    ...optional('sample', args.integer('sample', 1)),
    ...optional('runs', args.integer('runs', 1)),
    onPart: async (name, sofar) => {
      // A device that is lost midway leaves what was known.
      await write(file, sofar);
      bar.update(name, PART_NAMES.indexOf(name) + 1, PART_NAMES.length);
    },
  });
  bar.clear();
  await conclude(args, report, file);
}
