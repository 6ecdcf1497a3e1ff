/** `lutra qnn quarantine`: libraries that are not used any more, and why. */
import { resolve } from 'node:path';
import { defaultContextDirectory } from '../qnn/context-cache.js';
import { Verdicts } from '../qnn/health/verdicts.js';
import type { Arguments, Command } from './args.js';
import { modelFlags } from './model-flags.js';
import { print, printJson } from './output.js';

export const qnnQuarantineCommand: Command = {
  name: 'qnn quarantine',
  summary: 'Lists QNN libraries that crashed, hung or computed wrong numbers.',
  positionals: [],
  flags: { clear: { help: 'forget them: they are tested again' }, cache: modelFlags.cache, json: { help: 'print one JSON object' } },
  run,
};

async function run(args: Arguments): Promise<void> {
  const cache = args.string('cache');
  const verdicts = new Verdicts(cache === undefined ? defaultContextDirectory() : resolve(cache));
  const quarantined = verdicts.quarantined().map(({ subject: { path, soc, model }, verdict: { cause, what }, at }) => {
    return { library: path, soc, model, cause, what, at };
  });
  const cleared = args.flag('clear');
  if (cleared) verdicts.clear();
  if (args.flag('json')) return printJson({ quarantined, cleared });
  for (const { library, soc, model, cause, what, at } of quarantined) {
    const where = `${library}${soc === null ? '' : `, SoC ${soc}`}${model === null ? '' : `, model ${model}`}`;
    print(`${where}: ${cause}: ${what} (${at})`);
  }
  print(quarantined.length === 0 ? 'No library is quarantined.' : cleared ? 'Forgotten.' : 'lutra qnn quarantine --clear forgets them.');
}
