/** A device report as one page without scripts or external files. */
import { asText } from '../calibrate/page/svg.js';
import type { Readings } from './readings.js';
import type { DeviceReport, Part } from './report.js';

const STYLE = `:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#cf222e}
@media(prefers-color-scheme:dark){:root{--good:#3fb950;--bad:#f85149}}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;display:block;overflow-x:auto}
td,th{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}.good{color:var(--good)}.bad{color:var(--bad)}small{opacity:.7}`;

type Cell = string | number | { html: string };
const cell = (value: Cell): string =>
  typeof value === 'number'
    ? `<td class="n">${value}</td>`
    : typeof value === 'string'
      ? `<td>${asText(value)}</td>`
      : `<td>${value.html}</td>`;

function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const body = rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`).join('\n');
  return `<table><thead><tr>${head.map((name) => `<th scope="col">${asText(name)}</th>`).join('')}</tr></thead><tbody>\n${body}</tbody></table>`;
}

const mark = (good: boolean, text: string): Cell => ({
  html: `<span class="${good ? 'good' : 'bad'}">${good ? '✓' : '✗'} ${asText(text)}</span>`,
});

function section<T>(title: string, part: Part<T>, show: (result: T) => string): string {
  switch (part.state) {
    case 'skipped':
      return `<h2>${title}</h2><p>Left out: ${asText(part.why)}.</p>`;
    case 'failed':
      return `<h2>${title}</h2><p class="bad">✗ ${asText(part.error.message)} [${asText(part.error.code)}]</p><p>${asText(part.error.remedy)}</p>`;
    case 'done':
      return `<h2>${title} <small>${part.seconds.toFixed(1)} s</small></h2>${show(part.result)}`;
  }
}

function readings({ hottest, battery }: Readings): string {
  const parts = [
    ...(hottest ? [`${hottest.celsius.toFixed(0)} °C`] : []),
    ...(battery?.percent == null ? [] : [`battery ${battery.percent} %`]),
    ...(battery?.milliwatts == null ? [] : [`${battery.milliwatts} mW`]),
  ];
  return parts.join(', ') || '–';
}

const per = (value: number): number => Number(value.toPrecision(4));

export function pageOf({ at, lutra, model, parts }: DeviceReport): string {
  const sections = [
    section('Machine', parts.doctor, ({ machine, soc, npu, findings }) => {
      const rows: Cell[][] = [
        ['system', `${machine.system}, Node.js ${machine.node}`],
        ['SoC', soc.known ? `${soc.known.name}, DSP v${soc.known.arch}` : (soc.name ?? "none of Qualcomm's")],
        ['processor', machine.cpu?.description ?? 'no native part'],
        ['NPU library', npu?.backend ? `${npu.backend.name} ${npu.backend.buildId}` : 'none'],
      ];
      const wrong = findings.map(({ level, what, cause, remedy }): Cell[] => [mark(level === 'note', what), cause, remedy]);
      return table(['what', 'value'], rows) + (wrong.length > 0 ? table(['finding', 'cause', 'remedy'], wrong) : '');
    }),
    section('Kernels', parts.kernels, (checks) => {
      const wrong = checks.filter(({ right }) => !right);
      const rows = wrong.map(({ kernel, format, nmse }): Cell[] => [mark(false, kernel), format, nmse.toExponential(1)]);
      return `<p class="${wrong.length === 0 ? 'good' : 'bad'}">${checks.length - wrong.length} of ${checks.length} are right.</p>${rows.length > 0 ? table(['kernel', 'format', 'NMSE'], rows) : ''}`;
    }),
    section('Conformance', parts.conformance, ({ library, cases, asExpected, exceptions, unexpected }) => {
      const rows = unexpected.map(({ name, verdict, message }): Cell[] => [mark(false, name), verdict, message.split('\n')[0] ?? '']);
      return `<p>${asText(library)}: ${asExpected} of ${cases} as expected, ${exceptions} known exceptions.</p>${rows.length > 0 ? table(['case', 'verdict', 'what'], rows) : ''}`;
    }),
    section('Tokens', parts.tokens, ({ npu, prompts, agreement }) => {
      const rows = prompts.map(({ tokens, agree }, i): Cell[] => [i + 1, mark(agree === tokens, `${agree} of ${tokens}`)]);
      return `<p>${asText(npu)}: ${agreement === 1 ? 'the same greedy tokens as the host NPU' : `${(100 * agreement).toFixed(0)} % of the greedy tokens of the host NPU, until they part`}.</p>${table(['prompt', 'equal from the start'], rows)}`;
    }),
    section('Speed', parts.speed, ({ npu, promptTokens, decodeTokens, rows, drift }) => {
      const cells = rows.map(({ power, prefill, decode, runs, before, after }): Cell[] => [
        power,
        per(prefill),
        per(decode),
        runs,
        readings(before),
        readings(after),
      ]);
      return `<p>${asText(npu)}; ${promptTokens} tokens of prompt, ${decodeTokens} of answer, medians in tokens/s. The first row measured again at the end: prefill ${drift.prefill.toFixed(2)} ×, decode ${drift.decode.toFixed(2)} ×.</p>${table(['power', 'prefill', 'decode', 'runs', 'before', 'after'], cells)}`;
    }),
    section('Precisions', parts.precisions, (costs) =>
      table(
        ['precision', 'time ÷ w8a8'],
        Object.entries(costs).map(([name, cost]): Cell[] => [name, cost == null ? 'refused' : per(cost)]),
      ),
    ),
  ];
  const title = `lutra ${lutra} on a device`;
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>${asText(title)}</title><style>${STYLE}</style></head><body><h1>${asText(title)}</h1><p>${asText(at)}, ${asText(model)}</p>
${sections.join('\n')}
</body></html>
`;
}
