/** What `lutra doctor` says of machines with something wrong: one finding with cause and remedy for each fault, and Node.js goes on. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type DoctorReport, examine } from '../../lib/doctor/index.js';
import { LutraError } from '../../lib/graph/errors.js';
import { librarySubject } from '../../lib/qnn/health/admission.js';
import { Verdicts } from '../../lib/qnn/health/verdicts.js';
import { compileRpc, elfFile, FakePhone, OTHER_STAMP, STAMP, stamped } from './fake-phone.js';
import { compileFaulty } from './faulty.js';
import { root as repository } from './helpers.js';

const TIMEOUT_MS = 3000;
let directory: string;
let compiled: string;
let rpc: string;
let phones = 0;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'lutra-doctor-'));
  compiled = compileFaulty(directory);
  rpc = compileRpc(directory);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const phone = (): FakePhone => new FakePhone(join(directory, `phone${phones++}`), compiled, rpc);
const look = (one: FakePhone): Promise<DoctorReport> => examine(one.surroundings, { timeoutMs: TIMEOUT_MS });

interface Fault {
  /** What is wrong, in words. */
  name: string;
  make(one: FakePhone): void | Promise<void>;
  id: string;
  exitCode: 0 | 1 | 2;
  /** In the finding's sentences. */
  says: RegExp;
}

const device = (name: string, fault: string, id: string, says: RegExp): Fault => ({
  name,
  make: (one) => one.library.set([fault]),
  id,
  exitCode: 1,
  says,
});

const withRpc = (name: string, flags: string[], id: string, says: RegExp): Fault => ({
  name,
  make: (one) => one.rpc(compileRpc(directory, flags)),
  id,
  exitCode: 1,
  says,
});

const LIBRARY: Fault[] = [
  {
    name: 'a path that names nothing',
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: '/nowhere/libQnnHtp.so' }),
    id: 'library-missing',
    exitCode: 1,
    says: /nowhere/,
  },
  {
    name: 'no runtime on a Qualcomm SoC',
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: undefined }),
    id: 'library-not-found',
    exitCode: 1,
    says: /SM8650/,
  },
  {
    name: 'a text file as library',
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: one.write('text.so', 'no library, but long enough') }),
    id: 'library-damaged',
    exitCode: 1,
    says: /no ELF file/,
  },
  {
    name: 'a library that was not copied whole',
    make: (one) => truncateSync(one.library.path, 3000),
    id: 'library-damaged',
    exitCode: 1,
    says: /truncated/,
  },
  {
    name: "the DSP's library as backend",
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: join(one.root, 'runtime/libQnnHtpV75Skel.so') }),
    id: 'library-of-dsp',
    exitCode: 1,
    says: /Skel/,
  },
  {
    name: 'a library for another processor',
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: one.write('arm.so', elfFile('arm64')) }),
    id: 'library-machine',
    exitCode: 1,
    says: /arm64/,
  },
  {
    name: 'a library of 32 bits',
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: one.write('narrow.so', elfFile('x64', { bits: 32 })) }),
    id: 'library-machine',
    exitCode: 1,
    says: /32 bits/,
  },
  {
    name: 'a glibc library on Android',
    make: (one) => one.set({ platform: 'android' }),
    id: 'library-glibc',
    exitCode: 1,
    says: /libc\.so\.6/,
  },
  {
    name: "Android's library on Linux",
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: one.write('bionic.so', elfFile('x64', { needed: ['libdl.so', 'libc.so'] })) }),
    id: 'library-bionic',
    exitCode: 1,
    says: /Android/,
  },
  {
    name: 'a library that the loader refuses',
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: one.write('empty.so', elfFile('x64')) }),
    id: 'npu-unloadable',
    exitCode: 1,
    says: /cannot open/,
  },
  {
    name: 'a library that is not QNN',
    make: (one) => one.env({ LUTRA_QNN_LIBRARY: rpc }),
    id: 'npu-not-qnn',
    exitCode: 1,
    says: /QnnInterface_getProviders/,
  },
  device('a library that is too old', 'version 2 26', 'npu-version', /2\.26/),
];

const COMPANIONS: Fault[] = [
  {
    name: 'no system library',
    make: (one) => void one.runtime('libQnnSystem.so', null),
    id: 'system-missing',
    exitCode: 0,
    says: /libQnnSystem/,
  },
  {
    name: 'a system library of another release',
    make: (one) => void one.runtime('libQnnSystem.so', elfFile('x64', { text: stamped(OTHER_STAMP) })),
    id: 'system-release',
    exitCode: 1,
    says: new RegExp(OTHER_STAMP),
  },
  {
    name: 'no stub',
    make: (one) => void one.runtime('libQnnHtpV75Stub.so', null),
    id: 'stub-missing',
    exitCode: 1,
    says: /libQnnHtpV75Stub/,
  },
  {
    name: 'the stub of another DSP',
    make: (one) => {
      one.runtime('libQnnHtpV75Stub.so', null);
      one.runtime('libQnnHtpV73Stub.so', elfFile('x64'));
    },
    id: 'stub-other-arch',
    exitCode: 1,
    says: /v73/,
  },
  {
    name: 'a damaged stub',
    make: (one) => void one.runtime('libQnnHtpV75Stub.so', '\x7fELF'),
    id: 'stub-damaged',
    exitCode: 1,
    says: /truncated/,
  },
  {
    name: 'a stub of another release',
    make: (one) => void one.runtime('libQnnHtpV75Stub.so', elfFile('x64', { text: stamped(OTHER_STAMP) })),
    id: 'stub-release',
    exitCode: 1,
    says: new RegExp(`${OTHER_STAMP}.*${STAMP}`),
  },
  { name: 'no skel', make: (one) => void one.runtime('libQnnHtpV75Skel.so', null), id: 'skel-missing', exitCode: 1, says: /hexagon-v75/ },
  {
    name: 'the skel of another DSP',
    make: (one) => {
      one.runtime('libQnnHtpV75Skel.so', null);
      one.runtime('libQnnHtpV79Skel.so', elfFile('hexagon', { arch: 79 }));
    },
    id: 'skel-other-arch',
    exitCode: 1,
    says: /v79/,
  },
  {
    name: 'a skel for the processor',
    make: (one) => void one.runtime('libQnnHtpV75Skel.so', elfFile('arm64', { text: stamped(STAMP) })),
    id: 'skel-machine',
    exitCode: 1,
    says: /Hexagon/,
  },
  {
    name: 'a skel with the wrong content',
    make: (one) => void one.runtime('libQnnHtpV75Skel.so', elfFile('hexagon', { arch: 68, text: stamped(STAMP) })),
    id: 'skel-arch',
    exitCode: 1,
    says: /v68.*v75/,
  },
  {
    name: 'a skel of another release',
    make: (one) => void one.runtime('libQnnHtpV75Skel.so', elfFile('hexagon', { arch: 75, text: stamped(OTHER_STAMP) })),
    id: 'skel-release',
    exitCode: 1,
    says: new RegExp(OTHER_STAMP),
  },
  { name: "':' in the ADSP path", make: (one) => one.env({ ADSP_LIBRARY_PATH: '/a:/b' }), id: 'adsp-separator', exitCode: 1, says: /';'/ },
  {
    name: 'a skel where the DSP does not look',
    make: (one) => {
      one.runtime('libQnnHtpV75Skel.so', null);
      one.write('/vendor/dsp/libQnnHtpV75Skel.so', elfFile('hexagon', { arch: 75, text: stamped(STAMP) }));
    },
    id: 'skel-unlisted',
    exitCode: 1,
    says: /vendor\/dsp/,
  },
  {
    name: 'another skel before it in the ADSP path',
    make: makeOtherSkelFirst,
    id: 'skel-release',
    exitCode: 1,
    says: new RegExp(OTHER_STAMP),
  },
  {
    name: 'another runtime on LD_LIBRARY_PATH',
    make: (one) => {
      one.write('old/libQnnHtpV75Stub.so', elfFile('x64', { text: stamped(OTHER_STAMP) }));
      one.env({ LD_LIBRARY_PATH: join(one.root, 'old') });
    },
    id: 'stray-library',
    exitCode: 0,
    says: /LD_LIBRARY_PATH/,
  },
];

function makeOtherSkelFirst(one: FakePhone): void {
  one.runtime('libQnnHtpV75Skel.so', null);
  one.write('a/libQnnHtpV75Skel.so', elfFile('hexagon', { arch: 75, text: stamped(OTHER_STAMP) }));
  one.write('b/libQnnHtpV75Skel.so', elfFile('hexagon', { arch: 75, text: stamped(STAMP) }));
  one.env({ ADSP_LIBRARY_PATH: `${join(one.root, 'a')};${join(one.root, 'b')}` });
}

const CALLS: Fault[] = [
  { name: 'no FastRPC', make: (one) => one.rpc(null), id: 'fastrpc-missing', exitCode: 1, says: /libcdsprpc/ },
  withRpc('a FastRPC without descriptors', [], 'fastrpc-incomplete', /rpcmem_to_fd/),
  withRpc('a FastRPC without memory', ['-DRPC_FAULT=1', '-DRPC_DESCRIPTOR'], 'fastrpc-exhausted', /shared memory/),
  withRpc('a FastRPC that crashes', ['-DRPC_FAULT=2', '-DRPC_DESCRIPTOR'], 'fastrpc-crashes', /SIGABRT/),
  device('an op that wants too much memory', 'fail graphFinalize 1 99 1002', 'npu-1002', /memory/),
  device('a backend that cannot start', 'fail backendCreate 1 99 4000', 'npu-4000', /backendCreate/),
  device('a binary for another device', 'fail contextCreateFromBinary 1 99 5000', 'npu-5000', /contextCreateFromBinary/),
  device('a binary that cannot be loaded', 'fail contextCreateFromBinary 1 99 5005', 'npu-5005', /SoC or release/),
  device('files of several releases', 'fail deviceCreate 1 99 1008', 'npu-1008', /belong together/),
  device('a skel that cannot be loaded', 'fail deviceCreate 1 99 1009', 'npu-1009', /cannot be loaded/),
  device('a refused device', 'fail deviceCreate 1 99 14001', 'npu-14001', /deviceCreate/),
  device('hardware that is not there', 'fail deviceCreate 1 99 14002', 'npu-14002', /not available/),
  device('a malformed binary', 'fail contextCreateFromBinary 1 99 30010', 'npu-30010', /malformed/),
  device('a crash inside', 'crash deviceCreate 1 segv', 'npu-crashed', /SIGSEGV while opening the device/),
  device('an abort inside', 'crash backendCreate 1 abort', 'npu-crashed', /SIGABRT while starting the backend/),
  device('an exit inside', 'crash graphFinalize 1 exit', 'npu-crashed', /exit code/),
  device('a hang inside', 'hang deviceCreate 1 0', 'npu-hung', /no answer within 3000 ms while opening the device/),
  device('wrong numbers', 'wrong noise 1 99', 'npu-wrong', /relative error/),
  { name: 'an earlier verdict', make: quarantined, id: 'quarantined', exitCode: 1, says: /quarantine --clear/ },
];

async function quarantined(one: FakePhone): Promise<void> {
  const subject = librarySubject({ kind: 'library', path: one.library.path });
  await new Verdicts(one.surroundings.cache).keep(subject, { good: false, cause: 'hung', what: 'no answer' });
}

const MACHINE: Fault[] = [
  {
    name: 'an unknown SoC',
    make: (one) => void one.write('/sys/devices/soc0/machine', 'SM9999\n'),
    id: 'soc-unknown',
    exitCode: 0,
    says: /SM9999/,
  },
  {
    name: 'little memory',
    make: (one) => void one.write('/proc/meminfo', 'MemTotal: 3000000 kB\nMemAvailable: 300000 kB\n'),
    id: 'memory-low',
    exitCode: 0,
    says: /307 MB/,
  },
  {
    name: 'a cache that cannot be written',
    make: (one) => one.set({ cache: '/proc/lutra' }),
    id: 'cache-unwritable',
    exitCode: 0,
    says: /LUTRA_CACHE/,
  },
  { name: 'an old Node.js', make: (one) => one.set({ node: '18.20.4' }), id: 'node-old', exitCode: 2, says: /20\.19/ },
  { name: 'an old Node-API', make: (one) => one.set({ napi: 8 }), id: 'napi-old', exitCode: 2, says: /version 9/ },
  {
    name: 'no native part',
    make: (one) =>
      one.set({
        addon: () => {
          throw new LutraError('LUTRA_NOT_FOUND', 'No native build was found.', 'Build it.');
        },
      }),
    id: 'addon-missing',
    exitCode: 2,
    says: /No native build/,
  },
];

describe('faults', () => {
  it.each([...LIBRARY, ...COMPANIONS, ...CALLS, ...MACHINE])('$id: $name', async ({ make, id, exitCode, says }) => {
    const one = phone();
    await make(one);
    const { findings, exitCode: found } = await look(one);
    const finding = findings.find((candidate) => candidate.id === id);
    expect(finding, JSON.stringify(findings)).toBeDefined();
    expect(`${finding?.what} ${finding?.cause} ${finding?.remedy}`).toMatch(says);
    expect(finding?.cause).not.toBe('');
    expect(finding?.remedy).not.toBe('');
    expect(found).toBe(exitCode);
  });
});

describe('odd paths', () => {
  it('files among folders, folders among files', async () => {
    const one = phone();
    one.runtime('libQnnHtpV75Stub.so', null);
    one.write('libraries/libQnnHtpV75Stub.so/x', '');
    one.env({ LD_LIBRARY_PATH: `${one.write('file', '')}:${join(one.root, 'libraries')}:${join(one.root, 'nowhere')}` });
    const { findings } = await look(one);
    expect(findings.map(({ id }) => id)).toEqual(['stub-damaged']);
  });
});

describe('machines with nothing wrong', () => {
  it('a phone', async () => {
    const one = phone();
    const report = await look(one);
    expect(report.findings).toEqual([]);
    expect(report.exitCode).toBe(0);
    expect(report.soc.known).toEqual({ id: 57, name: 'SM8650', arch: 75 });
    expect(report.files.filter(({ found }) => found !== null).map(({ role }) => role)).toEqual([
      'backend',
      'system',
      'stub',
      'skel',
      'fastrpc',
    ]);
    expect(report.npu?.backend?.name).toBe('LUTRA_HOST');
    expect(report.npu?.steps).toContain('opening the device');
    expect(report.fastrpc?.source).toBe(join(one.root, '/usr/lib/libcdsprpc.so'));
    // Added before what is there; the separator is FastRPC's.
    one.env({ ADSP_LIBRARY_PATH: '/dsp' });
    expect((await look(one)).adspPath).toEqual({ current: '/dsp', used: `${join(one.root, 'runtime')};/dsp` });
  });

  it('the ADSP path is set in the process that opens the library, in a worker too', () => {
    const one = phone();
    const program = `
      const { Worker } = require('node:worker_threads');
      new Worker(\`import('${repository}/dist/index.js').then(({ qnn }) => qnn.Library.open('${one.library.path}'))\`, { eval: true })
        .on('exit', () => console.log(process.env.ADSP_LIBRARY_PATH));`;
    const said = execFileSync(process.execPath, ['-e', program], { encoding: 'utf8', env: { ...process.env, ADSP_LIBRARY_PATH: '/dsp' } });
    expect(said.trim()).toBe(`${join(one.root, 'runtime')};/dsp`);
  });

  it('a machine without an NPU, from the command line', () => {
    const env = { ...process.env, LUTRA_QNN_LIBRARY: '', LD_LIBRARY_PATH: '', QNN_SDK_ROOT: '', QAIRT_SDK_ROOT: '' };
    const run = (...args: string[]) =>
      spawnSync(process.execPath, [join(repository, 'dist/cli/main.js'), 'doctor', '--cache', directory, ...args], {
        encoding: 'utf8',
        env,
      });
    const { status, stdout } = run('--json');
    expect(status).toBe(0);
    const report = JSON.parse(stdout) as DoctorReport;
    expect(report.findings.map(({ id }) => id)).toEqual(['no-npu']);
    expect(report.machine.cpu?.kernels.length).toBeGreaterThan(0);
    expect(run().stdout).toContain('Nothing is wrong.');
    writeFileSync(join(directory, 'no.so'), 'no');
    const wrong = run('--library', join(directory, 'no.so'));
    expect(wrong.status).toBe(1);
    expect(wrong.stdout).toContain('remedy:');
  });
});
