/** A calibration as one page of HTML that needs nothing else: no script, no network, light and dark. */
import type { ChoiceRecord, ModelSpec } from '../../graph/spec.js';
import type { CalibrationProfile, Peak } from '../profile.js';
import {
  inputTensors,
  legend,
  middleChannel,
  outlierChart,
  outputTensors,
  PRECISIONS,
  placeOf,
  precisionGrid,
  qualityChart,
  RANGE_LINES,
  rangeChart,
  type Tensor,
} from './charts.js';
import { STYLE } from './style.js';
import { asText, figure } from './svg.js';

const MOST_LISTED = 15;

function figures(title: string, tensors: readonly Tensor[], draw: (tensor: Tensor) => string): string {
  return `<div class="charts" aria-label="${asText(title)}">${tensors.map((tensor) => `<figure><figcaption>${asText(tensor.title)}</figcaption>${draw(tensor)}</figure>`).join('')}</div>`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[], numeric: readonly number[]): string {
  const cell = (tag: 'th' | 'td') => (content: string, i: number) =>
    `<${tag}${numeric.includes(i) ? ' class="number"' : ''}>${content}</${tag}>`;
  const line = (tag: 'th' | 'td') => (row: readonly string[]) => `<tr>${row.map(cell(tag)).join('')}</tr>`;
  return `<div class="scroll"><table><thead>${line('th')(head)}</thead><tbody>${rows.map(line('td')).join('')}</tbody></table></div>`;
}

/** The channels that stand out most, over all inputs. */
function outlierTable({ sites }: CalibrationProfile): string {
  const inputs = inputTensors(sites).flatMap((tensor) => tensor.sites.map((site) => ({ tensor, site, middle: middleChannel(site) || 1 })));
  const all = inputs.flatMap(({ tensor, site, middle }) =>
    site.outliers.map((outlier) => ({ tensor, site, outlier, ratio: outlier.value / middle })),
  );
  const rows = all
    .sort((a, b) => b.ratio - a.ratio)
    .slice(0, MOST_LISTED)
    .map(({ tensor, site, outlier, ratio }) => [
      asText(tensor.title),
      String(site.layer),
      String(outlier.channel),
      figure(outlier.value),
      figure(ratio),
      where(outlier),
    ]);
  if (rows.length === 0) return '<p>No channel stands out.</p>';
  return table(['tensor', 'layer', 'channel', 'largest', '× middle', 'where'], rows, [1, 2, 3, 4]);
}

function where(peak: Peak): string {
  return `<code>${asText(placeOf(peak, 24))}</code> <small>token ${peak.position} of window ${peak.window}</small>`;
}

function precision(spec: ModelSpec | null): string {
  if (!spec || Object.keys(spec.linears).length === 0)
    return '<p>This model directory has no NPU weights, so no precisions were chosen.</p>';
  const used = new Set(Object.values(spec.linears).map((linear) => linear.precision));
  const items = PRECISIONS.filter(({ name }) => used.has(name));
  return `${legend(items, 'fill')}<div class="charts"><figure>${precisionGrid(spec)}</figure></div>`;
}

function quality(choice: ChoiceRecord | undefined): string {
  if (!choice || choice.table.length === 0)
    return '<p>The precisions of this model were not chosen by measurement, so there is nothing to compare.</p>';
  const rows = choice.table.map((row, i) => [
    String(i + 1),
    `<span class="setting">${asText(row.setting)}</span>`,
    row.kl.toFixed(4),
    `${(row.top1 * 100).toFixed(1)} %`,
    figure(row.perplexity),
    `${(row.int8Share * 100).toFixed(1)} %`,
    Math.round(row.repairPerToken).toLocaleString('en'),
  ]);
  const items = [
    { name: 'most', label: 'chosen' },
    { name: 'p999', label: 'compared with' },
    ...('maxKl' in choice.goal ? [{ name: 'limit', label: `KL asked for: ${figure(choice.goal.maxKl)}` }] : []),
  ];
  const head = ['', 'setting', 'KL', 'top-1', 'perplexity', '8-bit share', 'repair, MAC a token'];
  return `${legend(items, 'dot')}<div class="charts"><figure>${qualityChart(choice)}</figure></div>${table(head, rows, [2, 3, 4, 5, 6])}`;
}

function summary({ model, text }: CalibrationProfile): string {
  const files = text.files.map(({ name, bytes }) => `${asText(name)} (${bytes.toLocaleString('en')} bytes)`).join(', ');
  return `<p class="summary">${model.layers} layers of ${model.hidden.toLocaleString('en')} channels; ${text.tokens.toLocaleString('en')} tokens in ${text.windows.toLocaleString('en')} windows of ${text.windowTokens}, from ${files}.</p>`;
}

/** `spec`: of the model directory, for precisions and how they were chosen; null: without. */
export function profilePage(profile: CalibrationProfile, spec: ModelSpec | null): string {
  const name = asText(profile.model.name);
  const inputs = inputTensors(profile.sites);
  const lines = legend(RANGE_LINES, 'line');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Calibration of ${name}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Calibration of ${name}</h1>
${summary(profile)}
<h2>What linears read</h2>
<p>Magnitudes that so many of the values do not exceed. The gap between the largest and the 99.9 % line is what an 8-bit range must clip or spend its steps on.</p>
${lines}
${figures('What linears read', inputs, rangeChart)}
<h2>Channels that stand out</h2>
<p>Each dot is a channel whose largest magnitude is more than four times that of the channel in the middle; at most eight a layer.</p>
${figures('Channels that stand out', inputs, outlierChart)}
${outlierTable(profile)}
<h2>What linears write</h2>
${lines}
${figures('What linears write', outputTensors(profile.sites), rangeChart)}
<h2>Precision of every linear</h2>
${precision(spec)}
<h2>Quality and 8-bit share</h2>
${quality(spec?.calibration?.choice)}
</main>
</body>
</html>
`;
}
