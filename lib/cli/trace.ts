/** `lutra inspect --eager`: what every op of a prompt writes. */
import { type TracedValue, trace } from '../runtime/trace.js';
import type { Arguments } from './args.js';
import { loadOptions } from './model-flags.js';
import { note, print, printJson } from './output.js';

const COLUMNS = ['tensor', 'op', 'type', 'min', 'max', 'rms', 'difference'] as const;

function cells(value: TracedValue): string[] {
  const number = (x: number): string => x.toPrecision(4);
  const { tensor, op, where, dtype, rows, cols, min, max, rms, difference } = value;
  return [
    tensor,
    `${where} ${op}`,
    `${dtype}[${rows}, ${cols}]`,
    number(min),
    number(max),
    number(rms),
    difference === null ? 'inside' : number(difference),
  ];
}

export async function printTrace(args: Arguments): Promise<void> {
  const { program, tokens, values } = await trace(args.positionals[0] ?? '', args.required('prompt'), loadOptions(args));
  if (args.flag('json')) return printJson({ program, tokens, values });
  const rows = [[...COLUMNS], ...values.map(cells)];
  const widths = COLUMNS.map((_, c) => Math.max(...rows.map((row) => row[c]?.length ?? 0)));
  for (const row of rows) print(row.map((cell, c) => (c < 3 ? cell.padEnd(widths[c] ?? 0) : cell.padStart(widths[c] ?? 0))).join('  '));
  const different = values.filter(({ difference }) => difference !== null && difference > 0).length;
  note(`program ${program}, ${tokens} tokens; ${different} values differ between the plan and its ops one by one`);
}
