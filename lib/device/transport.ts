/** Ways to a device: copying there and back, and running a command on it. */
import { spawn } from 'node:child_process';
import { LutraError } from '../graph/errors.js';

export interface Transport {
  /** "adb device 1234", for messages. */
  readonly name: string;
  /** Folder of the device for what is copied there. */
  readonly folder: string;
  push(from: string, to: string): Promise<void>;
  pull(from: string, to: string): Promise<void>;
  /** Runs a shell command; resolves to its exit code. Lines of its standard error go to `onLine`. */
  run(command: string, onLine?: (line: string) => void): Promise<number>;
}

/** Quoted for a POSIX shell. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

const KEPT_CHARACTERS = 2000;

function execute(program: string, args: readonly string[], onLine?: (line: string) => void): Promise<{ code: number; said: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    let line = '';
    const take = (text: string) => {
      said = (said + text).slice(-KEPT_CHARACTERS);
    };
    child.stdout.setEncoding('utf8').on('data', take);
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      take(text);
      const lines = (line + text).split(/\r?\n/);
      line = lines.pop() ?? '';
      for (const one of lines) onLine?.(one);
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      const message = missing ? `The program ${program} is not installed.` : `${program} cannot be run: ${error.message}`;
      reject(new LutraError(missing ? 'LUTRA_NOT_FOUND' : 'LUTRA_IO', message, `Install ${program}, or add it to PATH.`, { cause: error }));
    });
    child.on('close', (code, signal) => resolve({ code: code ?? (signal ? 128 : 1), said }));
  });
}

async function mustSucceed(what: string, program: string, args: readonly string[]): Promise<void> {
  const { code, said } = await execute(program, args);
  if (code === 0) return;
  const last = said.trim().split('\n').at(-1) ?? '';
  throw new LutraError('LUTRA_IO', `${what} failed with exit code ${code}: ${last}`, 'Check that the device is connected and has room.');
}

/** Over Android's debug bridge. @param serial of the device; absent: the only one */
export function adb(serial?: string): Transport {
  const select = serial === undefined ? [] : ['-s', serial];
  const name = serial === undefined ? 'the adb device' : `adb device ${serial}`;
  return {
    name,
    folder: '/data/local/tmp/lutra',
    push: (from, to) => mustSucceed(`Copying ${from} to ${name}`, 'adb', [...select, 'push', from, to]),
    pull: (from, to) => mustSucceed(`Copying ${from} from ${name}`, 'adb', [...select, 'pull', from, to]),
    run: async (command, onLine) => (await execute('adb', [...select, 'shell', command], onLine)).code,
  };
}

/** Over ssh and scp, which ask for nothing: keys have to be set up. @param host "name" or "user@name" */
export function ssh(host: string): Transport {
  const options = ['-o', 'BatchMode=yes'];
  return {
    name: host,
    folder: '.cache/lutra-device-test',
    push: (from, to) => mustSucceed(`Copying ${from} to ${host}`, 'scp', [...options, '-r', '-q', from, `${host}:${to}`]),
    pull: (from, to) => mustSucceed(`Copying ${from} from ${host}`, 'scp', [...options, '-r', '-q', `${host}:${from}`, to]),
    run: async (command, onLine) => (await execute('ssh', [...options, host, '--', command], onLine)).code,
  };
}
