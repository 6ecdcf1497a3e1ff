/** Scripts in processes of their own: what must not take the process down, and how it ends. */
import { spawn } from 'node:child_process';

export interface Ended {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

export interface ScriptOptions {
  /** Of node. */
  flags?: string[];
  /** Sent when the script first prints something. */
  kill?: NodeJS.Signals;
}

/** Runs the source of an ES module; it has two minutes. */
export function script(source: string, { flags = [], kill }: ScriptOptions = {}): Promise<Ended> {
  return new Promise((done) => {
    const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', source], { timeout: 400_000 });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data) => {
      if (kill && stdout === '') child.kill(kill);
      stdout += data;
    });
    child.stderr.on('data', (data) => {
      stderr += data;
    });
    child.on('close', (code, signal) => done({ code, signal, stdout, stderr }));
  });
}
