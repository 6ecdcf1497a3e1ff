/** A registry of figures in Prometheus' text format (version 0.0.4). */

type Labels = Readonly<Record<string, string>>;

/** The labels as they stand behind a name; they identify a series. */
function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replace(/[\\"\n]/g, (c) => (c === '\n' ? '\\n' : `\\${c}`))}"`,
  );
  return pairs.length > 0 ? `{${pairs.join(',')}}` : '';
}

/** A figure with a name, as it is printed. */
interface Metric {
  lines(): string[];
}

/** What only grows. */
export class Counter implements Metric {
  readonly #name: string;
  readonly #series = new Map<string, number>();

  constructor(name: string) {
    this.#name = name;
  }

  add(amount: number, labels: Labels = {}): void {
    const key = labelText(labels);
    this.#series.set(key, (this.#series.get(key) ?? 0) + amount);
  }

  lines(): string[] {
    return [...this.#series].map(([labels, value]) => `${this.#name}${labels} ${value}`);
  }
}

/** What is looked up when it is asked for. */
class Gauge implements Metric {
  readonly #name: string;
  readonly #read: () => number;

  constructor(name: string, read: () => number) {
    this.#name = name;
    this.#read = read;
  }

  lines(): string[] {
    return [`${this.#name} ${this.#read()}`];
  }
}

/** How often values were at most each of the bounds. */
export class Histogram implements Metric {
  readonly #name: string;
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, { labels: Labels; counts: number[]; sum: number; count: number }>();

  constructor(name: string, bounds: readonly number[]) {
    this.#name = name;
    this.#bounds = bounds;
  }

  observe(value: number, labels: Labels = {}): void {
    const key = labelText(labels);
    const series = this.#series.get(key) ?? { labels, counts: this.#bounds.map(() => 0), sum: 0, count: 0 };
    this.#series.set(key, series);
    this.#bounds.forEach((bound, i) => {
      if (value <= bound) series.counts[i]!++;
    });
    series.sum += value;
    series.count++;
  }

  lines(): string[] {
    return [...this.#series.values()].flatMap(({ labels, counts, sum, count }) => [
      ...this.#bounds.map((bound, i) => `${this.#name}_bucket${labelText({ ...labels, le: String(bound) })} ${counts[i]}`),
      `${this.#name}_bucket${labelText({ ...labels, le: '+Inf' })} ${count}`,
      `${this.#name}_sum${labelText(labels)} ${sum}`,
      `${this.#name}_count${labelText(labels)} ${count}`,
    ]);
  }
}

export class Registry {
  readonly #metrics: { head: string[]; metric: Metric }[] = [];

  counter(name: string, help: string): Counter {
    return this.#add(name, help, 'counter', new Counter(name));
  }

  gauge(name: string, help: string, read: () => number): void {
    this.#add(name, help, 'gauge', new Gauge(name, read));
  }

  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    return this.#add(name, help, 'histogram', new Histogram(name, bounds));
  }

  /** Everything, as GET /metrics gives it. */
  text(): string {
    return `${this.#metrics.flatMap(({ head, metric }) => [...head, ...metric.lines()]).join('\n')}\n`;
  }

  #add<M extends Metric>(name: string, help: string, type: string, metric: M): M {
    this.#metrics.push({ head: [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`], metric });
    return metric;
  }
}
