/** The plots of a calibration. */
import type { ChoiceRecord, LinearName, ModelSpec, Precision } from '../../graph/spec.js';
import { LINEAR_NAMES, linearKey } from '../../models/index.js';
import type { Peak, ProfileSite } from '../profile.js';
import { type Axis, asText, chart, dot, figure, hover, layerAxis, linearAxis, logAxis, niceTicks, path, WIDTH, xAxis } from './svg.js';

/** The same tensor of every layer. */
export interface Tensor {
  title: string;
  sites: ProfileSite[];
}

const INPUTS: readonly { name: LinearName; title: string }[] = [
  { name: 'q', title: 'Input of q, k, v' },
  { name: 'o', title: 'Input of o' },
  { name: 'gate', title: 'Input of gate, up' },
  { name: 'down', title: 'Input of down' },
];

function layersOf(sites: readonly ProfileSite[], what: ProfileSite['what'], name: LinearName): ProfileSite[] {
  return sites.filter((site) => site.what === what && site.linears.includes(name)).sort((a, b) => a.layer - b.layer);
}

export function inputTensors(sites: readonly ProfileSite[]): Tensor[] {
  return INPUTS.map(({ name, title }) => ({ title, sites: layersOf(sites, 'input', name) }));
}

export function outputTensors(sites: readonly ProfileSite[]): Tensor[] {
  return LINEAR_NAMES.map((name) => ({ title: `Output of ${name}`, sites: layersOf(sites, 'output', name) }));
}

const largest = ({ min, max }: ProfileSite): number => Math.max(Math.abs(min), Math.abs(max));

/** Lines of {@link rangeChart}, the lowest first. */
export const RANGE_LINES: readonly { name: string; label: string; of: (site: ProfileSite) => number }[] = [
  { name: 'p99', label: '99 %', of: ({ p99 }) => p99 },
  { name: 'p999', label: '99.9 %', of: ({ p999 }) => p999 },
  { name: 'p9999', label: '99.99 %', of: ({ p9999 }) => p9999 },
  { name: 'most', label: 'largest', of: largest },
];

/** The token that a peak is at, with the text before it. */
export function placeOf({ text, before }: Peak, most: number): string {
  const characters = Array.from(before);
  const shown = characters.length > most ? `…${characters.slice(-most).join('')}` : before;
  return `${shown}⟦${text}⟧`;
}

/** One column of each layer that tells its figures. */
function columns(x: Axis, sites: readonly ProfileSite[], title: (site: ProfileSite) => string): string {
  const half = sites.length > 1 ? (x.at(1) - x.at(0)) / 2 : WIDTH / 4;
  return sites.map((site) => hover(x.at(site.layer) - half, x.at(site.layer) + half, title(site))).join('');
}

/** Magnitudes of a tensor, layer by layer, on a logarithmic scale. */
export function rangeChart({ title, sites }: Tensor): string {
  const x = layerAxis(sites.length);
  const y = logAxis(
    sites.flatMap((site) => [site.p99, largest(site)]),
    'magnitude',
  );
  const lines = RANGE_LINES.map(({ name, of }) =>
    path(
      name,
      sites.map((site) => [x.at(site.layer), y.at(of(site))]),
    ),
  ).join('');
  const told = columns(x, sites, (site) => {
    const figures = RANGE_LINES.map(({ label, of }) => `${label}: ${figure(of(site))}`).join('\n');
    return `layer ${site.layer}\n${figures}\nlargest in channel ${site.peak.channel}, at ${placeOf(site.peak, 30)}`;
  });
  return chart(`${title}: magnitudes by layer`, x, y, lines + told);
}

/** The magnitude that half of the channels stay below. */
export function middleChannel({ channels }: ProfileSite): number {
  const peaks = channels.min.map((low, i) => Math.max(-low, channels.max[i] ?? 0)).sort((a, b) => a - b);
  return peaks[peaks.length >> 1] ?? 0;
}

/** How far the channels that stand out are from the one in the middle. */
export function outlierChart({ title, sites }: Tensor): string {
  const x = layerAxis(sites.length);
  const dots = sites.flatMap((site) => {
    const middle = middleChannel(site) || 1;
    return site.outliers.map((outlier) => ({ site, outlier, ratio: outlier.value / middle }));
  });
  const y = logAxis([1, 10, ...dots.map(({ ratio }) => ratio)], '× channel in the middle');
  const drawn = dots
    .map(({ site, outlier, ratio }) =>
      dot(
        'most',
        [x.at(site.layer), y.at(ratio)],
        `layer ${site.layer}, channel ${outlier.channel}: ${figure(outlier.value)}, ${figure(ratio)} × the channel in the middle\nat ${placeOf(outlier, 30)}\n${site.outlierChannels} channels of this layer stand out`,
      ),
    )
    .join('');
  return chart(`${title}: channels that stand out, by layer`, x, y, drawn);
}

export const PRECISIONS: readonly { name: Precision; label: string }[] = [
  { name: 'w8a8', label: 'w8a8: 8-bit activations' },
  { name: 'w8a8s', label: 'w8a8s: 8-bit, outliers repaired' },
  { name: 'w8a16', label: 'w8a16: 16-bit' },
  { name: 'w8f16', label: 'w8f16: half floats' },
];

const CELL_HEIGHT = 18;
const NAME_WIDTH = 40;

/** Which arithmetic every linear has: layers from left to right. */
export function precisionGrid({ arch, linears }: Pick<ModelSpec, 'arch' | 'linears'>): string {
  const cell = (WIDTH - NAME_WIDTH - 4) / arch.layers;
  const rows = LINEAR_NAMES.map((name, row) => {
    const y = row * CELL_HEIGHT;
    const cells = Array.from({ length: arch.layers }, (_, layer) => {
      const found = linears[linearKey(layer, name)];
      if (!found) return '';
      const x = (NAME_WIDTH + layer * cell).toFixed(1);
      const width = Math.max(cell - 1, 0.5).toFixed(1);
      const title = `layer ${layer}, ${name}: ${found.precision}${found.factors ? ', a range for each output' : ''}`;
      return `<rect class="fill ${found.precision}" x="${x}" y="${y}" width="${width}" height="${CELL_HEIGHT - 2}" rx="1.5"><title>${title}</title></rect>`;
    });
    return `<text class="end" x="${NAME_WIDTH - 6}" y="${y + 12}">${name}</text>${cells.join('')}`;
  });
  const bottom = LINEAR_NAMES.length * CELL_HEIGHT;
  const ticks = niceTicks(Math.max(arch.layers - 1, 1), 6).filter((tick) => Number.isInteger(tick) && tick < arch.layers);
  const numbers = ticks.map(
    (tick) => `<text class="mid" x="${(NAME_WIDTH + (tick + 0.5) * cell).toFixed(1)}" y="${bottom + 12}">${tick}</text>`,
  );
  const label = `<text class="mid name" x="${(NAME_WIDTH + WIDTH) / 2}" y="${bottom + 28}">layer</text>`;
  return `<svg viewBox="0 0 ${WIDTH} ${bottom + 32}" role="img" aria-label="Precision of every linear">${rows.join('')}${numbers.join('')}${label}</svg>`;
}

/** Distance to the float model beside the share of 8-bit arithmetic, one point a setting. */
export function qualityChart({ table, goal }: ChoiceRecord): string {
  const x = xAxis(0, 1, [0, 0.25, 0.5, 0.75, 1], 'share of 8-bit activations', (share) => `${share * 100} %`);
  const limit = 'maxKl' in goal ? [goal.maxKl] : [];
  const values = [...table.map(({ kl }) => kl), ...limit];
  const spread = Math.max(...values) / Math.max(Math.min(...values), 1e-9);
  const y = spread > 30 ? logAxis([...values, Math.max(...values) / 10], 'KL, nats') : linearAxis(Math.max(...values) * 1.1, 'KL, nats');
  const line = limit.map(
    (kl) =>
      `<line class="limit" x1="${x.at(0)}" x2="${x.at(1)}" y1="${y.at(kl)}" y2="${y.at(kl)}"><title>limit: ${figure(kl)}</title></line>`,
  );
  const dots = table.map(({ setting, kl, top1, perplexity, int8Share }, i) => {
    const title = `${setting}\nKL ${figure(kl)}, top-1 ${(top1 * 100).toFixed(1)} %, perplexity ${figure(perplexity)}, ${(int8Share * 100).toFixed(1)} % in 8 bits`;
    const at = [x.at(int8Share), y.at(kl)] as const;
    const left = int8Share > 0.5;
    const number = `<text class="${left ? 'end' : 'start'}" x="${at[0] + (left ? -6 : 6)}" y="${at[1] - 4}">${i + 1}</text>`;
    return dot(i === 0 ? 'most' : 'p999', at, title) + number;
  });
  return chart('Quality and share of 8-bit arithmetic', x, y, `${line.join('')}${dots.join('')}`);
}

/** `<span>`s that say which mark is what. */
export function legend(items: readonly { name: string; label: string }[], shape: 'line' | 'fill' | 'dot'): string {
  return `<p class="legend">${items.map(({ name, label }) => `<span><i class="key ${shape} ${name}"></i>${asText(label)}</span>`).join('')}</p>`;
}
