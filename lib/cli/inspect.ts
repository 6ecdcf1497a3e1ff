/** `lutra inspect`: what is in a model directory, and the plan that runs it. */

import { printPlan } from '../graph/index.js';
import { buildPlan } from '../models/index.js';
import { type Inspection, inspectModel, verifyModel } from '../runtime/inspect.js';
import { openModelDirectory } from '../runtime/model-dir.js';
import { type Arguments, type Command, UsageError } from './args.js';
import { describeChoice } from './choice.js';
import { modelFlags } from './model-flags.js';
import { formatBytes, ProgressBar, print, printJson } from './output.js';
import { printTrace } from './trace.js';

export const inspectCommand: Command = {
  name: 'inspect',
  summary: 'Shows what is in a model directory.',
  positionals: ['DIR'],
  flags: {
    plan: { value: 'npu|cpu|reference', help: 'print the plan instead' },
    eager: { help: 'run --prompt op by op, show every value and its difference to the plan' },
    prompt: { value: 'TEXT', short: 'p', help: 'text for --eager, taken as it is' },
    npu: modelFlags.npu,
    soc: modelFlags.soc,
    reference: modelFlags.reference,
    threads: modelFlags.threads,
    context: { value: 'N', help: 'context of the plan (default 4096, or less if the model has less)' },
    verify: { help: 'read every byte of the model and compare it with the digests of lutra.json' },
    json: { help: 'print one JSON object' },
  },
  run,
};

async function printPlanOf(args: Arguments, mode: string): Promise<void> {
  if (mode !== 'npu' && mode !== 'cpu' && mode !== 'reference') throw new UsageError(`--plan is npu, cpu or reference, not '${mode}'.`);
  const { spec } = await openModelDirectory(args.positionals[0] ?? '');
  const contextSize = args.integer('context', 1) ?? Math.min(4096, spec.arch.maxContext);
  const plan = printPlan(buildPlan(spec, { mode, contextSize }));
  if (args.flag('json')) printJson({ mode, contextSize, plan });
  else process.stdout.write(plan);
}

async function run(args: Arguments): Promise<void> {
  const [directory = ''] = args.positionals;
  const plan = args.string('plan');
  if (args.flag('eager') && (plan !== undefined || args.flag('verify')))
    throw new UsageError('--eager stands alone: no --plan, no --verify.');
  if (args.flag('eager')) return printTrace(args);
  if (plan !== undefined) return printPlanOf(args, plan);
  const inspection = await inspectModel(directory);
  if (args.flag('verify')) {
    const bar = new ProgressBar();
    try {
      await verifyModel(directory, (done, total) => bar.update('verify', done, total));
    } finally {
      bar.clear();
    }
  }
  if (args.flag('json')) printJson({ ...inspection, ...(args.flag('verify') ? { verified: true } : {}) });
  else for (const line of describe(inspection, args.flag('verify'))) print(line);
}

function describe(model: Inspection, verified: boolean): string[] {
  const { arch, bytes, shadowed } = model;
  const counts = (of: Record<string, number>) =>
    Object.entries(of)
      .map(([name, count]) => `${count} × ${name}`)
      .join(', ');
  return [
    `${model.name} (${arch.family}), from ${model.source.file}`,
    `shape         ${arch.layers} layers, hidden ${arch.hidden}, ffn ${arch.ffn}, ${arch.heads} heads (${arch.kvHeads} KV) of ${arch.headDim}, vocabulary ${arch.vocab}`,
    `context       up to ${arch.maxContext} tokens, ${formatBytes(model.kvBytesPerToken.f16)} of KV cache each (${formatBytes(model.kvBytesPerToken.int8)} with --kv int8); chunk ${model.chunk}`,
    `CPU weights   ${formatBytes(bytes.cpu)}: ${counts(model.tensors)}`,
    `NPU weights   ${bytes.npu > 0 ? formatBytes(bytes.npu) : 'none'}`,
    ...Object.entries(model.precision).map(([name, of]) => `  ${name.padEnd(11)} ${counts(of)}`),
    ...(model.int8Share === null
      ? []
      : [
          `INT8 share    ${(model.int8Share * 100).toFixed(1)} %; repaired inputs of ${shadowed.input} linears, outputs of ${shadowed.output}`,
        ]),
    ...(model.transform === 'none' ? [] : [`transform     ${model.transform}`]),
    ...(model.calibration
      ? [`calibration   ${model.calibration.method}, ${model.calibration.tokens} tokens of ${model.calibration.text}`]
      : []),
    ...(model.calibration?.choice ? describeChoice(model.calibration.choice) : []),
    ...(verified ? ['verified      weights and tokenizer are as they were converted'] : []),
  ];
}
