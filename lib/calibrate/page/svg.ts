/** Pieces of inline SVG: text that cannot become markup, scales, axes. Colours are classes that the page's style sheet defines for light and dark. */

/** Size of a chart in its own units: about a pixel each where it is as wide as a telephone. */
export const WIDTH = 360;
export const HEIGHT = 200;
const LEFT = 48;
const RIGHT = 16;
const TOP = 8;
const BOTTOM = 34;

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** Text for markup; control characters are shown, not sent. */
export function asText(text: string): string {
  return text
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '')
    .replace(/\p{Cc}/gu, (control) => (/\s/.test(control) ? '⏎' : '·'));
}

/** 23456 → "23,456", 234567 → "2.3e5", 0.0123456 → "0.0123", 1e-7 → "1e-7". */
export function figure(value: number): string {
  const magnitude = Math.abs(value);
  if (magnitude === 0) return '0';
  if (magnitude >= 1000 && magnitude < 1e5) return Math.round(value).toLocaleString('en');
  if (magnitude >= 1e5 || magnitude < 1e-3) return value.toExponential(1).replace('e+', 'e').replace('.0e', 'e');
  return String(Number(value.toPrecision(3)));
}

/** Where a value goes, in the units of the chart, and the values that get a line. */
export interface Axis {
  at: (value: number) => number;
  ticks: number[];
  label: string;
  text: (value: number) => string;
}

const round = (value: number): number => Math.round(value * 10) / 10;

/** From `from` to `to` over the width. */
export function xAxis(from: number, to: number, ticks: number[], label: string, text: (value: number) => string = figure): Axis {
  const span = to - from || 1;
  return { at: (value) => round(LEFT + ((value - from) / span) * (WIDTH - LEFT - RIGHT)), ticks, label, text };
}

/** Whole powers of ten around the values, from the bottom up; a value of 0 lies on the lowest. */
export function logAxis(values: readonly number[], label: string): Axis {
  const logs = values.filter((value) => value > 0).map(Math.log10);
  const low = Math.floor(Math.min(...logs, 0));
  const high = Math.max(Math.ceil(Math.max(...logs, low)), low + 1);
  const at = (value: number): number => {
    const share = value > 0 ? (Math.log10(value) - low) / (high - low) : 0;
    return round(HEIGHT - BOTTOM - Math.min(Math.max(share, 0), 1) * (HEIGHT - TOP - BOTTOM));
  };
  const step = Math.ceil((high - low) / 6);
  const ticks = Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, i) => 10 ** (low + i * step));
  return { at, ticks, label, text: figure };
}

/** Steps of 1, 2 or 5 times a power of ten: at most `most` of them up to `to`. */
export function niceTicks(to: number, most: number): number[] {
  const raw = Math.max(to / most, Number.MIN_VALUE);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= raw * 0.999_999) ?? 10);
  return Array.from({ length: Math.floor(to / step + 1e-9) + 1 }, (_, i) => i * step);
}

/** From 0 to `to`, from the bottom up. */
export function linearAxis(to: number, label: string): Axis {
  const ticks = niceTicks(to, 5);
  return { at: (value) => round(HEIGHT - BOTTOM - (value / (to || 1)) * (HEIGHT - TOP - BOTTOM)), ticks, label, text: figure };
}

/** Whole numbers from 0 to `count` − 1, so many that their labels do not touch. */
export function layerAxis(count: number): Axis {
  const ticks = niceTicks(Math.max(count - 1, 1), 6).filter((tick) => Number.isInteger(tick) && tick < count);
  return xAxis(0, Math.max(count - 1, 1), ticks, 'layer', String);
}

/** A chart: lines of the grid, labels, then what is in it. `title` is what a screen reader says. */
export function chart(title: string, x: Axis, y: Axis, content: string): string {
  const bottom = HEIGHT - BOTTOM;
  const rows = y.ticks
    .map(
      (tick) =>
        `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y.at(tick)}" y2="${y.at(tick)}"/><text class="end" x="${LEFT - 5}" y="${y.at(tick) + 3.5}">${asText(y.text(tick))}</text>`,
    )
    .join('');
  const columns = x.ticks.map((tick) => `<text class="mid" x="${x.at(tick)}" y="${bottom + 14}">${asText(x.text(tick))}</text>`).join('');
  const names =
    `<text class="mid name" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 5}">${asText(x.label)}</text>` +
    `<text class="mid name" transform="translate(9 ${(TOP + bottom) / 2}) rotate(-90)">${asText(y.label)}</text>`;
  const base = `<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${bottom}" y2="${bottom}"/>`;
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${asText(title)}">${rows}${base}${columns}${names}${content}</svg>`;
}

/** A line through points. */
export function path(name: string, points: readonly (readonly [number, number])[]): string {
  if (points.length === 1) return dot(name, points[0] ?? [0, 0]);
  return `<polyline class="line ${name}" points="${points.map(([x, y]) => `${x},${y}`).join(' ')}"/>`;
}

export function dot(name: string, [x, y]: readonly [number, number], title = ''): string {
  return `<circle class="dot ${name}" cx="${x}" cy="${y}" r="3">${title === '' ? '' : `<title>${asText(title)}</title>`}</circle>`;
}

/** An invisible column that says something when it is pointed at. */
export function hover(left: number, right: number, title: string): string {
  return `<rect class="hover" x="${round(left)}" width="${round(Math.max(right - left, 1))}" y="${TOP}" height="${HEIGHT - TOP - BOTTOM}"><title>${asText(title)}</title></rect>`;
}
