import { Counter, Gauge, Histogram, Summary, type Registry } from 'prom-client';

/**
 * What a label's values are: those that are listed, or the names of the databases or of the other instances, which are
 * known as they come, or unknown.
 */
type LabelValues = 'database' | 'instance' | 'unknown' | readonly string[];
type Labels<L extends string> = Readonly<Record<L, LabelValues>>;

type Coming = 'database' | 'instance' | 'unknown';
type Series = Readonly<Record<string, string>>;
type Declared = { readonly labels: Labels<string>; readonly zero: (series: Series) => void };

/** Every family that a database has, of each database. */
export const PER_DATABASE = { lmdb: 'database' } as const;
/** The same, of each other instance. */
export const PER_INSTANCE = { lmdb: 'database', syncer_instance: 'instance' } as const;

/**
 * Makes metrics that exist from the start: a counter that is not there before its first event hides that event from
 * every `increase(…)`. So each is declared with its labels' values, and begins at 0 with each of them.
 */
export class MetricMaker {
  readonly #registers: Registry[];
  readonly #prefix: string;
  readonly #declared: Declared[] = [];

  constructor(registry: Registry, prefix = 'lightningstream_') {
    this.#registers = [registry];
    this.#prefix = prefix;
  }

  counter<L extends string>(name: string, help: string, labels: Labels<L>): Counter<L> {
    const counter = new Counter({ ...this.#base(name, help, labels) });
    this.#declare(labels, (series) => counter.inc(series as never, 0));
    return counter;
  }

  histogram<L extends string>(
    name: string,
    help: string,
    more: { readonly labels: Labels<L>; readonly buckets: number[] },
  ): Histogram<L> {
    const { labels, buckets } = more;
    const histogram = new Histogram({ ...this.#base(name, help, labels), buckets });
    this.#declare(labels, (series) => histogram.zero(series as never));
    return histogram;
  }

  /** Without a value until one is known. */
  gauge<L extends string>(name: string, help: string, labels: Labels<L>): Gauge<L> {
    return new Gauge({ ...this.#base(name, help, labels) });
  }

  /** Sum and count, as upstream has it: no quantiles. */
  summary<L extends string>(name: string, help: string, labels: Labels<L>): Summary<L> {
    return new Summary({ ...this.#base(name, help, labels), percentiles: [] });
  }

  /** From now on this database has all its metrics. */
  beginDatabase(lmdb: string): void {
    this.#begin((values) => (values === 'database' ? [lmdb] : []), 'database');
  }

  /** From now on this database has all its metrics of that instance. */
  beginInstance(lmdb: string, instance: string): void {
    this.#begin(
      (values) => (values === 'database' ? [lmdb] : values === 'instance' ? [instance] : []),
      'instance',
    );
  }

  #base<L extends string>(name: string, help: string, labels: Labels<L>) {
    const labelNames = Object.keys(labels) as L[];
    return { name: `${this.#prefix}${name}`, help, labelNames, registers: this.#registers };
  }

  #declare<L extends string>(labels: Labels<L>, zero: Declared['zero']): void {
    const declared: Declared = { labels, zero };
    this.#declared.push(declared);
    // What no database and no instance has to come for.
    if (Object.values<LabelValues>(labels).every((values) => Array.isArray(values))) {
      for (const series of combinations(labels, () => [])) {
        zero(series);
      }
    }
  }

  #begin(known: (values: Coming) => readonly string[], what: 'database' | 'instance'): void {
    for (const { labels, zero } of this.#declared) {
      const values = Object.values(labels);
      const isOfInstance = values.includes('instance');
      if (
        isOfInstance ? what !== 'instance' : what !== 'database' || !values.includes('database')
      ) {
        continue;
      }
      for (const series of combinations(labels, known)) {
        zero(series);
      }
    }
  }
}

/** Every combination of the labels' values. */
function combinations(
  labels: Labels<string>,
  known: (values: Coming) => readonly string[],
): Series[] {
  let all: Series[] = [{}];
  for (const [label, declared] of Object.entries(labels)) {
    const values = typeof declared === 'string' ? known(declared) : declared;
    all = all.flatMap((series) => values.map((value) => ({ ...series, [label]: value })));
  }
  return all;
}
