import * as z from 'zod';
import type { Row } from '../support/row.ts';
import { median } from '../support/statistics.ts';

const measuredRow = z.object({
  name: z.string(),
  unit: z.string(),
  /** One per round; some follow from what the peer took in the same round. */
  targets: z.array(z.number()),
  values: z.array(z.number()).min(1),
  peers: z.array(z.number()),
});

const results = z.object({
  /** What it ran on, as lines of a table. */
  machine: z.record(z.string(), z.string()),
  /** Day of the run, UTC. */
  date: z.iso.date(),
  commands: z.array(z.string()),
  rows: z.array(measuredRow),
});

/** A row over all rounds of a run. */
export type MeasuredRow = z.infer<typeof measuredRow>;
/** What a run of the benchmarks measured: bench/results/latest.json. */
export type Results = z.infer<typeof results>;

/** Reads stored results. Throws where they are none. */
export function parseResults(text: string): Results {
  return results.parse(JSON.parse(text));
}

/** Puts the rows of several rounds together, in the order of the first. Throws where a round has two of one name. */
export function collectRounds(rounds: readonly (readonly Row[])[]): MeasuredRow[] {
  for (const round of rounds) {
    const names = round.map(({ name }) => name);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined) {
      throw new Error(`two rows of one round are called "${twice}"`);
    }
  }
  const rows = new Map<string, MeasuredRow>();
  for (const { name, unit, value, target, peer } of rounds.flat()) {
    const row = rows.get(name) ?? { name, unit, targets: [], values: [], peers: [] };
    rows.set(name, row);
    row.values.push(value);
    if (target !== undefined) {
      row.targets.push(target);
    }
    if (peer !== undefined) {
      row.peers.push(peer);
    }
  }
  return [...rows.values()];
}

/** The medians of a row. */
export function medians({ values, targets, peers }: MeasuredRow) {
  return {
    value: median(values),
    target: targets.length > 0 ? median(targets) : undefined,
    peer: peers.length > 0 ? median(peers) : undefined,
  };
}

/** Three digits are what a measurement here is good for. */
export function formatAmount(value: number, unit: string): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toLocaleString('en', { maximumFractionDigits: digits })} ${unit}`.trimEnd();
}
