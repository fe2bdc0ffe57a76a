import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { formatTable } from '../agent/demo/table.ts';
import { errorText } from '../protocol/errors.ts';
import type { BenchOptions, Row } from './support/row.ts';

const USAGE = `Usage: npm run bench -- [--only NAME]... [--records N] [--peer PATH] [--json FILE]
  --only NAME   only the files whose name contains NAME: latency, memory, page-diff, ...
  --records N   entries of the large database (1000000)
  --peer PATH   upstream's binary, measured side by side with the same work
  --json FILE   write the rows there, too`;
const FOLDER = fileURLToPath(new URL('.', import.meta.url));
const DEFAULT_RECORDS = 1_000_000;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string', multiple: true, default: [] },
      records: { type: 'string', default: String(DEFAULT_RECORDS) },
      peer: { type: 'string' },
      json: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const records = Number(values.records);
  if (values.help || !Number.isSafeInteger(records) || records < 1) {
    console.log(USAGE);
    return values.help ? 0 : 2;
  }
  const files = (await readdir(FOLDER))
    .filter((name) => name.endsWith('.bench.ts'))
    .filter((name) => values.only.length === 0 || values.only.some((part) => name.includes(part)))
    .toSorted();
  const peer = values.peer === undefined ? undefined : resolve(values.peer);
  const rows: Row[] = [];
  const broken: string[] = [];
  for (const file of files) {
    console.error(`... ${file}`);
    const measured = await runFile(file, { records, peer });
    if (measured === undefined) {
      broken.push(file);
    } else {
      rows.push(...measured);
    }
  }
  console.log(table(rows, peer !== undefined));
  if (values.json !== undefined) {
    await writeFile(values.json, `${JSON.stringify(rows, undefined, 2)}\n`);
  }
  for (const file of broken) {
    console.log(`FAILED: ${file} (its error is above)`);
  }
  return broken.length > 0 || files.length === 0 ? 1 : 0;
}

/** The rows of one file, measured in a process of its own; undefined where it failed. */
async function runFile(file: string, options: BenchOptions): Promise<Row[] | undefined> {
  const args = [join(FOLDER, file), JSON.stringify(options)];
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
    amount(value, unit),
    target === undefined ? '' : amount(target, unit),
    target === undefined ? '' : value <= target ? 'met' : 'MISSED',
    ...(withPeer && peer !== undefined
      ? [amount(peer, unit), peer === 0 ? '' : amount((100 * value) / peer, '%')]
      : []),
  ]);
  return formatTable(heading, cells, new Set(['measured', 'target', 'upstream', 'of upstream']));
}

/** Three digits are what a measurement here is good for. */
function amount(value: number, unit: string): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return `${value.toLocaleString('en', { maximumFractionDigits: digits })} ${unit}`.trimEnd();
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
