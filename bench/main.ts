import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { formatTable } from '../demo/table.ts';
import { silenceSdkWarning } from '../storage/sdk-warning.ts';
import { errorText } from '../protocol/errors.ts';
import { PICTURES, reportFiles } from './report/page.ts';
import { collectRounds, formatAmount, parseResults, type Results } from './report/results.ts';
import { describeMachine } from './support/machine.ts';
import type { BenchOptions, Row } from './support/row.ts';

const USAGE = `Usage: npm run bench -- [--only NAME]... [--records N] [--peer PATH] [--json FILE]
       npm run bench -- --report [--rounds N] [--peer PATH] [--only NAME]...
       npm run bench -- --report --from FILE
  --only NAME   only the files whose name contains NAME: latency, memory, page-diff, ...
  --records N   entries of the large database (1000000)
  --peer PATH   upstream's binary, measured side by side with the same work
  --json FILE   write the rows there, too
  --report      all of it in several rounds, into bench/results/latest.json, docs/benchmarks.md and its pictures;
                with --only: only these rows anew
  --rounds N    of a report (3)
  --from FILE   makes the page from stored results, without measuring`;
const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const RESULTS = 'bench/results/latest.json';
const DEFAULT_RECORDS = 1_000_000;
/** Of what grows, or must not grow, with the database. */
const SCALE_RECORDS = 10_000_000;
const SCALE_FILES = ['latency.bench.ts', 'memory.bench.ts', 'compaction.bench.ts'];
/** They watch for minutes; once is enough. */
const SLOW_FILES = ['idle.bench.ts'];

async function main(): Promise<number> {
  silenceSdkWarning();
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      records: { type: 'string', default: String(DEFAULT_RECORDS) },
      peer: { type: 'string' },
      json: { type: 'string' },
      report: { type: 'boolean', default: false },
      rounds: { type: 'string', default: '3' },
      from: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const [records, rounds] = [Number(values.records), Number(values.rounds)];
  const areCounts = [records, rounds].every((count) => Number.isSafeInteger(count) && count > 0);
  if (values.help || !areCounts || (values.from !== undefined && !values.report)) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  const peer = values.peer === undefined ? undefined : resolve(values.peer);
  if (values.from !== undefined) {
    await writeReport(parseResults(await readFile(values.from, 'utf8')));
    return 0;
  }
  const files = (await readdir(FOLDER))
    .filter((name) => name.endsWith('.bench.ts'))
    .filter((name) => values.only.length === 0 || values.only.some((part) => name.includes(part)))
    .toSorted();
  if (files.length === 0) {
    console.log(USAGE);
    return 2;
  }
  return values.report
    ? report(files, { records, peer, rounds, isPart: values.only.length > 0 })
    : oneRound(files, { records, peer, json: values.json });
}

/** One round, as a table. */
async function oneRound(
  files: readonly string[],
  options: BenchOptions & { readonly json: string | undefined },
): Promise<number> {
  const { rows, broken } = await runFiles(files, options);
  console.log(table(rows, options.peer !== undefined));
  if (options.json !== undefined) {
    await writeFile(options.json, `${JSON.stringify(rows, undefined, 2)}\n`);
  }
  return broken ? 1 : 0;
}

/** Several rounds, stored, and the page made of them. */
async function report(
  files: readonly string[],
  options: BenchOptions & { readonly rounds: number; readonly isPart: boolean },
): Promise<number> {
  const { records, peer, rounds } = options;
  const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
  const machine = describeMachine({ version, peer });
  const all: Row[][] = [];
  let isBroken = false;
  const add = async (names: readonly string[], more: BenchOptions) => {
    const { rows, broken } = await runFiles(names, more);
    all.push(rows);
    isBroken ||= broken;
  };
  for (let round = 0; round < rounds; round += 1) {
    console.error(`... round ${round + 1} of ${rounds}`);
    const names = files.filter((name) => round === 0 || !SLOW_FILES.includes(name));
    await add(names, { records, peer });
  }
  await add(
    SCALE_FILES.filter((name) => files.includes(name)),
    // Alone: upstream takes half a minute for each change there.
    { records: SCALE_RECORDS },
  );
  if (isBroken) {
    return 1;
  }
  const fresh = collectRounds(all);
  const stored = options.isPart ? parseResults(await readFile(RESULTS, 'utf8')) : undefined;
  const measured = new Set(fresh.map(({ name }) => name));
  const results: Results = {
    machine: stored?.machine ?? machine,
    date: new Date().toISOString().slice(0, 10),
    commands: stored?.commands ?? [
      `npm run bench -- --report --rounds ${rounds}${peer === undefined ? '' : ' --peer PATH'}`,
    ],
    rows: [...(stored?.rows ?? []).filter(({ name }) => !measured.has(name)), ...fresh],
  };
  await mkdir(dirname(RESULTS), { recursive: true });
  await writeFile(RESULTS, `${JSON.stringify(results, undefined, 1)}\n`);
  await writeReport(results);
  return 0;
}

async function writeReport(results: Results): Promise<void> {
  await rm(PICTURES, { recursive: true, force: true });
  await mkdir(PICTURES, { recursive: true });
  for (const [file, content] of reportFiles(results)) {
    await writeFile(file, content);
  }
}

async function runFiles(
  files: readonly string[],
  options: BenchOptions,
): Promise<{ rows: Row[]; broken: boolean }> {
  const rows: Row[] = [];
  const broken: string[] = [];
  for (const file of files) {
    console.error(`... ${file}`);
    const measured = await runFile(file, options);
    if (measured === undefined) {
      broken.push(file);
    } else {
      rows.push(...measured);
    }
  }
  for (const file of broken) {
    console.log(`FAILED: ${file} (its error is above)`);
  }
  return { rows, broken: broken.length > 0 };
}

/** The rows of one file, measured in a process of its own; undefined where it failed. */
async function runFile(file: string, { records, peer }: BenchOptions): Promise<Row[] | undefined> {
  const args = [join(FOLDER, file), JSON.stringify({ records, peer })];
  const child = fork(join(FOLDER, 'support/run-one.ts'), args);
  let rows: Row[] | undefined;
  child.once('message', (message) => (rows = message as Row[]));
  const [code] = (await once(child, 'exit')) as [number | null];
  return code === 0 ? rows : undefined;
}

function table(rows: readonly Row[], withPeer: boolean): string {
  const heading = ['what', 'measured', 'target', 'verdict'];
  if (withPeer) {
    heading.push('upstream', 'of upstream');
  }
  const cells = rows.map(({ name, value, unit, target, peer }) => [
    name,
    formatAmount(value, unit),
    target === undefined ? '' : formatAmount(target, unit),
    target === undefined ? '' : value <= target ? 'met' : 'MISSED',
    ...(withPeer && peer !== undefined
      ? [formatAmount(peer, unit), peer === 0 ? '' : formatAmount((100 * value) / peer, '%')]
      : []),
  ]);
  return formatTable(heading, cells, new Set(['measured', 'target', 'upstream', 'of upstream']));
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(`Error: ${errorText(error)}\n${USAGE}`);
    process.exitCode = 2;
  },
);
