import { barChart, lineChart, type Bars } from './charts.ts';
import { formatAmount, medians, type MeasuredRow, type Results } from './results.ts';

/** Where the page and its pictures go, from the project's root. */
export const PAGE = 'docs/benchmarks.md';
export const PICTURES = 'docs/benchmarks';

type Group = {
  readonly slug: string;
  readonly title: string;
  readonly unit: string;
  readonly matches: RegExp;
};

/** Pictures with bars; what they show stands in the tables, too. */
const GROUPS: readonly Group[] = [
  {
    slug: 'bytes',
    title: 'Bytes for one change',
    unit: 'bytes',
    matches: /^bytes (up|down) per change/,
  },
  { slug: 'cpu', title: 'CPU time', unit: 'ms', matches: /CPU(?! per minute)/ },
  {
    slug: 'lock',
    title: 'Write lock: how long the application waits',
    unit: 'ms',
    matches: /lock/,
  },
  {
    slug: 'memory',
    title: 'Memory of the process, mapped pages aside',
    unit: 'MB',
    matches: /memory/,
  },
  { slug: 'compaction', title: 'Compaction', unit: 'ms', matches: /^compaction/ },
];
const LATENCY = /^commit to visible (p50|p99), folder, ([\d,]+) records$/;

/** The page and its pictures, by file name: the same results give the same bytes. */
export function reportFiles(results: Results): Map<string, string> {
  const files = new Map<string, string>();
  const pictures: string[] = [];
  const add = (slug: string, title: string, picture: string | undefined) => {
    if (picture === undefined) {
      return;
    }
    files.set(`${PICTURES}/${slug}.svg`, picture);
    pictures.push(`![${title}](benchmarks/${slug}.svg)`);
  };
  add('latency', 'Latency against the size of the database', latencyChart(results.rows));
  for (const { slug, title, unit, matches } of GROUPS) {
    const rows = results.rows.filter((row) => matches.test(row.name) && row.unit === unit);
    add(slug, title, rows.length === 0 ? undefined : barChart(bars({ title, unit, rows })));
  }
  files.set(PAGE, page(results, pictures));
  return files;
}

function bars({
  title,
  unit,
  rows,
}: {
  title: string;
  unit: string;
  rows: readonly MeasuredRow[];
}): Bars {
  return { title, unit, rows: rows.map((row) => ({ label: row.name, ...medians(row) })) };
}

function latencyChart(rows: readonly MeasuredRow[]): string | undefined {
  const found = rows.flatMap((row) => {
    const [, part, size] = LATENCY.exec(row.name) ?? [];
    return size === undefined
      ? []
      : [{ part, records: Number(size.replaceAll(',', '')), ...medians(row) }];
  });
  if (found.length === 0) {
    return undefined;
  }
  const series = ['p50', 'p99'].map((part) => ({
    name: part,
    points: found
      .filter((row) => row.part === part)
      .map(({ records, value }) => [records, value] as const),
  }));
  const theirs = found.flatMap(({ part, records, peer }) =>
    part === 'p50' && peer !== undefined ? [[records, peer] as const] : [],
  );
  return lineChart({
    title: 'From the commit in A to visible in B, one change, over a folder',
    xLabel: 'records in the database',
    yUnit: 'ms',
    series: theirs.length > 0 ? [...series, { name: 'upstream, p50', points: theirs }] : series,
  });
}

function page({ machine, date, commands, rows }: Results, pictures: readonly string[]): string {
  const withTarget = rows.filter(({ targets }) => targets.length > 0);
  const met = withTarget.filter((row) => isMet(row)).length;
  return `<!-- Made by \`npm run bench -- --report\` from bench/results/latest.json; edit neither by hand. -->

# Benchmarks

Measured on ${date}: ${met} of ${withTarget.length} targets met. A figure is the median over the
rounds of the run. Brackets hold the lowest and the highest round; each round is itself a median of
many changes or several runs. A row without brackets comes from one round. *Upstream* is the binary
of PowerDNS LightningStream, given the same work in the same round. How each figure is measured
stands in its file under \`bench/\`.

| | |
|---|---|
${Object.entries(machine)
  .map(([key, value]) => `| ${key} | ${value} |`)
  .join('\n')}
| commands | ${commands.map((command) => `\`${command}\``).join(', ')} |

${pictures.join('\n\n')}

## Targets

${table(withTarget)}

## More

${table(rows.filter(({ targets }) => targets.length === 0))}

What a fleet and a day cost in requests, and what ten thousand agents would cost:
[cost.md](cost.md). How PowerDNS fares beside an agent: [reliability.md](reliability.md#figures).
`;
}

function isMet(row: MeasuredRow): boolean {
  const { value, target = Number.POSITIVE_INFINITY } = medians(row);
  return value <= target;
}

function table(rows: readonly MeasuredRow[]): string {
  const lines = rows.map((row) => {
    const { value, target, peer } = medians(row);
    return [
      row.name,
      `${formatAmount(value, row.unit)}${range(row.values, row.unit)}`,
      target === undefined ? '' : formatAmount(target, row.unit),
      target === undefined ? '' : isMet(row) ? 'met' : '**missed**',
      peer === undefined ? '' : `${formatAmount(peer, row.unit)}${range(row.peers, row.unit)}`,
      ratio(value, peer),
    ].join(' | ');
  });
  return `| what | measured | target | | upstream | upstream / measured |
|---|--:|--:|---|--:|--:|
${lines.map((text) => `| ${text} |`).join('\n')}`;
}

function range(values: readonly number[], unit: string): string {
  if (values.length < 2) {
    return '';
  }
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const lowest = formatAmount(low, unit).replace(` ${unit}`, '');
  const highest = formatAmount(high, unit).replace(` ${unit}`, '');
  return ` (${lowest}–${highest})`;
}

function ratio(value: number, peer: number | undefined): string {
  return peer === undefined || value === 0 ? '' : formatAmount(peer / value, '×').replace(' ', '');
}
