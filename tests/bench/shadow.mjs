// What the repair of 8-bit linears costs: prefill of the same prompt with repairs and without, in turn.
// Usage: npm run --silent bench:shadow -- [--json] [--rounds 15] [--model DIR] [--tokens 512] [--threads 1,2]; wants a machine without other work. Fails above the bar.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cache, counts, median, need, progress, quantile, start } from './contenders.mjs';

/** Time of the repairs, as a share of the prefill that they are part of. */
const BAR = 0.05;

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    rounds: { type: 'string', default: '15' },
    tokens: { type: 'string', default: '512' },
    threads: { type: 'string', default: '1,2' },
    model: { type: 'string', default: join(cache, 'models', 'smollm2-135m-int8') },
  },
});
const [rounds] = counts('rounds', flags.rounds);
const [count] = counts('tokens', flags.tokens);
need(flags.model);
const tokens = Array.from({ length: count }, (_, i) => 100 + ((i * 7919) % 20_000));

async function measure(threads) {
  const contenders = [true, false].map((repair) => ({ repair, ...start('lutra'), samples: [] }));
  for (const { repair, call } of contenders) {
    await call('open', { path: flags.model, threads, contextSize: count, options: { npu: 'host', repair } });
    await call('prefill', { tokens }); // warm
  }
  for (let round = 0; round < rounds; round++) {
    progress(`${threads} threads: round ${round + 1} of ${rounds}`);
    // The order turns from round to round, so that nobody always follows the same neighbour.
    for (const one of round % 2 === 0 ? contenders : [...contenders].reverse()) one.samples.push(await one.call('prefill', { tokens }));
  }
  for (const { close } of contenders) close();
  const [repaired, not] = contenders.map(({ samples }) => samples);
  const ms = (samples, share) =>
    quantile(
      samples.map(({ prefillMs }) => prefillMs),
      share,
    );
  const { repairedInputs, repairedOutputs, graphCalls } = repaired[0];
  return {
    threads,
    p10Ms: [ms(repaired, 0.1), ms(not, 0.1)],
    medianMs: [ms(repaired, 0.5), ms(not, 0.5)],
    /** Of the repairs alone. */
    share: median(repaired.map(({ shadowMs, prefillMs }) => shadowMs / prefillMs)),
    /** With all that goes with them: more graphs, more results that come to the CPU. */
    ratio: median(repaired.map(({ prefillMs }, i) => prefillMs / not[i].prefillMs)),
    repairedInputsPerToken: repairedInputs / count,
    repairedOutputsPerToken: repairedOutputs / count,
    graphCalls: [graphCalls, not[0].graphCalls],
  };
}

const rows = [];
for (const threads of counts('threads', flags.threads)) rows.push(await measure(threads));
progress('');
if (flags.json) console.log(JSON.stringify({ tokens: count, rounds, rows }));
else {
  for (const { threads, p10Ms, medianMs, share, ratio, repairedInputsPerToken, repairedOutputsPerToken, graphCalls } of rows) {
    const pair = ([a, b]) => `${a.toFixed(0)} and ${b.toFixed(0)} ms`;
    console.log(
      `${threads} thread${threads > 1 ? 's' : ''}, ${count} tokens, with repairs and without: p10 ${pair(p10Ms)}, median ${pair(medianMs)}; ${graphCalls.join(' and ')} graph calls`,
    );
    console.log(
      `  repairs: ${(100 * share).toFixed(1)} % of the prefill (at most ${100 * BAR} %); the whole takes ${ratio.toFixed(3)} × as long; a token has ${repairedInputsPerToken.toFixed(0)} inputs and ${repairedOutputsPerToken.toFixed(0)} outputs repaired`,
    );
  }
}
if (rows.some(({ share }) => !(share <= BAR))) process.exitCode = 1;
