/** All commands, in the order in which help lists them. */
import type { Command } from './args.js';
import { benchKernelsCommand } from './bench.js';
import { buildCommand } from './build.js';
import { calibrateCommand } from './calibrate.js';
import { compileCommand } from './compile.js';
import { convertCommand } from './convert.js';
import { deviceTestCommand } from './device-test.js';
import { doctorCommand } from './doctor.js';
import { evalCommand } from './eval.js';
import { inspectCommand } from './inspect.js';
import { qnnInfoCommand } from './qnn.js';
import { qnnProbeCommand } from './qnn-probe.js';
import { qnnQuarantineCommand } from './qnn-quarantine.js';
import { runCommand } from './run.js';
import { serveCommand } from './serve.js';

export const commands: readonly Command[] = [
  convertCommand,
  calibrateCommand,
  compileCommand,
  runCommand,
  serveCommand,
  inspectCommand,
  evalCommand,
  doctorCommand,
  deviceTestCommand,
  qnnInfoCommand,
  qnnProbeCommand,
  qnnQuarantineCommand,
  benchKernelsCommand,
  buildCommand,
];
