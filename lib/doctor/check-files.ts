/** What is wrong with the files of a QNN runtime, before anything of them runs. */
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Soc } from '../qnn/soc.js';
import type { Finding } from './finding.js';
import { adspEntries, type RuntimeFile, stampOf } from './runtime-files.js';
import type { Surroundings } from './surroundings.js';

const ONE_RELEASE = 'Copy all files of one release of the runtime into one folder, and nothing else.';

const error = (id: string, what: string, cause: string, remedy: string): Finding => ({ id, level: 'error', what, cause, remedy });
const warning = (id: string, what: string, cause: string, remedy: string): Finding => ({ id, level: 'warning', what, cause, remedy });

/** The C libraries by which one sees for which system a library was built. */
const [GLIBC, BIONIC] = ['libc.so.6', 'libc.so'];

function checkBackend(
  { platform, arch }: Surroundings,
  { found, elf, looked, name }: RuntimeFile,
  soc: Soc | undefined,
  asked: boolean,
): Finding[] {
  if (found === null && asked)
    return [
      error(
        'library-missing',
        `There is no ${join(looked[0] ?? '', name)}.`,
        'The path is wrong, or the file was moved.',
        'Correct the path (--npu, or LUTRA_QNN_LIBRARY).',
      ),
    ];
  if (found === null && soc)
    return [
      error(
        'library-not-found',
        `This is a ${soc.name}, but no libQnnHtp.so was found.`,
        `It is in none of: ${looked.join(', ')}.`,
        "Bring Qualcomm's runtime (its SDK, or Maven's com.qualcomm.qti:qnn-runtime) and name libQnnHtp.so by LUTRA_QNN_LIBRARY.",
      ),
    ];
  if (found === null) return [];
  if (typeof elf === 'string' || elf === null)
    return [
      error(
        'library-damaged',
        `${found} ${elf ?? 'cannot be read'}.`,
        'The file is no library, or was not copied whole.',
        'Copy it again from the runtime.',
      ),
    ];
  if (elf.machine === 'hexagon')
    return [
      error(
        'library-of-dsp',
        `${found} runs on the DSP, not on the processor.`,
        'A Skel library was named.',
        'Name libQnnHtp.so; the Skel library lies beside it.',
      ),
    ];
  if (elf.machine !== arch || elf.bits !== 64)
    return [
      error(
        'library-machine',
        `${found} is for ${elf.machine} with ${elf.bits} bits, this process is ${arch} with 64.`,
        'It is from another folder of the SDK.',
        `Take the one for ${platform}-${arch}.`,
      ),
    ];
  if (platform === 'android' && elf.needed.includes(GLIBC))
    return [
      error(
        'library-glibc',
        `${found} needs ${GLIBC}, which Android does not have.`,
        'It was built for Linux with glibc, as those in Python wheels and npm packages are.',
        "Take the one for Android: lib/aarch64-android of the SDK, or Maven's com.qualcomm.qti:qnn-runtime.",
      ),
    ];
  if (platform === 'linux' && elf.needed.includes(BIONIC) && !elf.needed.includes(GLIBC))
    return [
      error('library-bionic', `${found} needs ${BIONIC} of Android.`, 'It was built for Android.', `Take the one for ${platform}-${arch}.`),
    ];
  return [];
}

function checkSystem(file: RuntimeFile | undefined, backend: RuntimeFile): Finding[] {
  if (!file || backend.found === null) return [];
  if (file.found === null)
    return [
      warning(
        'system-missing',
        'libQnnSystem.so was not found.',
        `It is in none of: ${file.looked.join(', ')}.`,
        `Copy it beside ${backend.found}; without it graphs are compiled at every start.`,
      ),
    ];
  return checkStamp(file, backend);
}

function checkStamp(file: RuntimeFile, backend: RuntimeFile): Finding[] {
  if (file.stamp === null || backend.stamp === null || file.stamp === backend.stamp) return [];
  return [
    error(
      `${file.role}-release`,
      `${file.found} was built at ${file.stamp}, ${backend.found} at ${backend.stamp}.`,
      'They come from different releases, which do not understand each other.',
      ONE_RELEASE,
    ),
  ];
}

/** Empty for what is no folder, or may not be read. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Other architectures whose file lies in the folders that were searched. */
function othersOf({ looked, name }: RuntimeFile): string[] {
  const pattern = new RegExp(`^${name.replace(/V\d+/, 'V(\\d+)')}$`);
  const there = looked.flatMap(namesIn);
  return [...new Set(there.flatMap((one) => one.match(pattern)?.[1] ?? []))].map((arch) => `v${arch}`);
}

function checkDspFile(file: RuntimeFile, backend: RuntimeFile, soc: Soc): Finding[] {
  const { role, name, found, elf, looked } = file;
  if (found === null) {
    const others = othersOf(file);
    if (others.length > 0)
      return [
        error(
          `${role}-other-arch`,
          `${name} is missing; there is one for ${others.join(' and ')}.`,
          `The DSP of the ${soc.name} is v${soc.arch}; a library for another one cannot run on it.`,
          `Copy ${name} of the same release beside libQnnHtp.so.`,
        ),
      ];
    return [
      error(
        `${role}-missing`,
        `${name} was not found.`,
        `It is in none of: ${looked.join(', ')}.`,
        `Copy it from the runtime (${role === 'skel' ? `lib/hexagon-v${soc.arch}/unsigned` : 'the folder of libQnnHtp.so'}) beside libQnnHtp.so.`,
      ),
    ];
  }
  if (typeof elf === 'string' || elf === null)
    return [
      error(
        `${role}-damaged`,
        `${found} ${elf ?? 'cannot be read'}.`,
        'The file is no library, or was not copied whole.',
        'Copy it again from the runtime.',
      ),
    ];
  if (role === 'skel' && elf.machine !== 'hexagon')
    return [
      error(
        'skel-machine',
        `${found} is for ${elf.machine}.`,
        'A Skel library runs on the DSP and is built for Hexagon.',
        `Copy ${name} from lib/hexagon-v${soc.arch}/unsigned.`,
      ),
    ];
  if (role === 'skel' && elf.hexagonArch !== soc.arch)
    return [
      error(
        'skel-arch',
        `${found} is built for v${elf.hexagonArch}, the DSP of the ${soc.name} is v${soc.arch}.`,
        'The file has the wrong content for its name.',
        `Copy ${name} from lib/hexagon-v${soc.arch}/unsigned.`,
      ),
    ];
  return checkStamp(file, backend);
}

function checkFastRpc({ found, looked }: RuntimeFile, { platform }: Surroundings): Finding[] {
  if (found !== null) return [];
  const remedy =
    platform === 'android'
      ? 'The vendor\'s system has to bring it; in an app, <uses-native-library android:name="libcdsprpc.so"/> makes it visible.'
      : 'Install the FastRPC package of the distribution (Debian: libfastrpc1).';
  return [
    error(
      'fastrpc-missing',
      'libcdsprpc.so was not found.',
      `It is in none of: ${looked.join(', ')}. Nothing reaches the DSP without it.`,
      remedy,
    ),
  ];
}

/** ADSP_LIBRARY_PATH, by which the DSP finds the Skel library. */
function checkAdspPath(surroundings: Surroundings, skel: RuntimeFile, backend: RuntimeFile): Finding[] {
  const value = surroundings.env.ADSP_LIBRARY_PATH ?? '';
  if (value.includes(':'))
    return [
      error(
        'adsp-separator',
        `ADSP_LIBRARY_PATH is '${value}'.`,
        "FastRPC separates folders by ';' and takes a list with ':' for one folder.",
        "Write ';' between the folders, or unset the variable: lutra adds the folder of the library by itself.",
      ),
    ];
  if (skel.found === null || backend.found === null) return [];
  const beside = dirname(backend.found);
  const entries = adspEntries(surroundings);
  if (dirname(skel.found) !== beside && !entries.includes(dirname(skel.found)))
    return [
      error(
        'skel-unlisted',
        `${skel.found} lies where the DSP does not look.`,
        `It is neither beside ${backend.found} nor in a folder of ADSP_LIBRARY_PATH.`,
        `Copy it into ${beside}.`,
      ),
    ];
  return [];
}

/** Files of another runtime on the loader's path, which it takes for those beside the library. */
function checkLoaderPath({ env }: Surroundings, files: readonly RuntimeFile[], backend: RuntimeFile): Finding[] {
  const folders = (env.LD_LIBRARY_PATH ?? '').split(':').filter((one) => one !== '');
  if (backend.found === null) return [];
  const beside = dirname(backend.found);
  for (const { name, role } of files) {
    if (role === 'fastrpc' || role === 'skel') continue;
    const stray = folders.map((folder) => join(folder, name)).find((path) => dirname(path) !== beside && existsSync(path));
    const stamp = stray === undefined ? null : stampOf(stray);
    if (stamp !== null && backend.stamp !== null && stamp !== backend.stamp)
      return [
        warning(
          'stray-library',
          `LD_LIBRARY_PATH leads to ${stray}, which is of another release than ${backend.found}.`,
          'The loader can take it for the one beside the library.',
          'Take its folder off LD_LIBRARY_PATH.',
        ),
      ];
  }
  return [];
}

/** @param asked whether the user named the backend @param soc of this machine, when it has a DSP that lutra knows */
export function checkFiles(
  surroundings: Surroundings,
  backend: RuntimeFile,
  companions: readonly RuntimeFile[],
  soc: Soc | undefined,
  asked: boolean,
): Finding[] {
  const findings = checkBackend(surroundings, backend, soc, asked);
  const of = (role: RuntimeFile['role']) => companions.find((file) => file.role === role);
  findings.push(...checkSystem(of('system'), backend));
  const [stub, skel, fastrpc] = [of('stub'), of('skel'), of('fastrpc')];
  if (soc && backend.found !== null && stub && skel)
    findings.push(...checkDspFile(stub, backend, soc), ...checkDspFile(skel, backend, soc), ...checkAdspPath(surroundings, skel, backend));
  if (fastrpc) findings.push(...checkFastRpc(fastrpc, surroundings));
  findings.push(...checkLoaderPath(surroundings, companions, backend));
  return findings;
}
