#!/usr/bin/env node
// The part of adb's command line that lutra uses, on a device that is the folder FAKE_ADB_ROOT: its /data is below that folder, its commands run here.
// FAKE_ADB_LOSE=TEXT: the device is gone as soon as a file report.json has that text; FAKE_ADB_GONE=yes: for good, so that nothing can be pulled.
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const root = process.env.FAKE_ADB_ROOT ?? '';
const args = process.argv.slice(2);
const fail = (message, code = 1) => {
  process.stderr.write(`${message}\n`);
  process.exit(code);
};

const serial = args[0] === '-s' ? args.splice(0, 2)[1] : 'emulator-1';
if (serial !== 'emulator-1') fail(`adb: device '${serial}' not found`);
const [verb, from = '', to = ''] = args;
const there = (path) => join(root, path);
const marker = there('/gone');

function copy(source, target, summary) {
  if (!existsSync(source)) fail(`adb: error: cannot stat '${source}': No such file or directory`);
  const into = existsSync(target) && statSync(target).isDirectory() ? join(target, basename(source)) : target;
  mkdirSync(dirname(into), { recursive: true });
  cpSync(source, into, { recursive: true });
  process.stdout.write(`${summary}: 1 file ${verb}ed, 0 skipped.\n`);
}

function shell(command) {
  const child = spawn('sh', ['-c', command.replaceAll('/data/', `${root}/data/`)], {
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
  });
  const text = process.env.FAKE_ADB_LOSE;
  const timer = setInterval(() => {
    const file = there('/data/local/tmp/lutra/report.json');
    if (text === undefined || !existsSync(file) || !readFileSync(file, 'utf8').includes(text)) return;
    clearInterval(timer);
    process.kill(-child.pid, 'SIGKILL');
    if (process.env.FAKE_ADB_GONE) mkdirSync(marker);
    fail('error: device offline', 255);
  }, 20);
  child.on('close', (code) => process.exit(code ?? 255));
}

if (existsSync(marker)) fail('adb: no devices/emulators found');
if (verb === 'push') copy(from, there(to), from);
else if (verb === 'pull') copy(there(from), to, from);
else if (verb === 'shell') shell(args.slice(1).join(' '));
else fail(`adb: unknown command ${verb}`);
