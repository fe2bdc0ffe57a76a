import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { errorText } from '../../protocol/errors.ts';
import { Application } from './application.ts';
import { Scenario, type StepResult } from './scenario.ts';
import { formatBytes, formatTable } from './table.ts';

const USAGE = `Usage: npm run demo [-- --keep]              two agents, then a third, over a folder as the bucket
       npm run demo -- put FILE KEY VALUE    write one record into an LMDB of a kept demo
       npm run demo -- delete FILE KEY
       npm run demo -- get FILE KEY`;

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { keep: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } },
    allowPositionals: true,
  });
  if (values.help === true) {
    console.log(USAGE);
    return 0;
  }
  return positionals.length > 0 ? byHand(positionals) : demo(values.keep);
}

async function demo(keep: boolean): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'lightningstream-demo-'));
  const results: StepResult[] = [];
  const scenario = new Scenario(folder, (result) => {
    results.push(result);
    console.log(`${result.step}: ${result.happened} (${result.latencyMs.toFixed(1)} ms)`);
  });
  console.log('Starting two agents on two empty LMDBs; a folder stands for the S3 bucket.\n');
  try {
    await scenario.run();
    printTable(results);
    if (keep) {
      printHelp(scenario, folder);
      await interrupted();
    }
    return 0;
  } catch (error) {
    console.error(`\nError: ${errorText(error)}`);
    for (const { agent } of scenario.hosts) {
      console.error(`\n--- log of agent ${agent.name}\n${await agent.log()}`);
    }
    return 1;
  } finally {
    await scenario.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function printTable(results: readonly StepResult[]): void {
  const rows = results.map(({ step, latencyMs, traffic }) => [
    step,
    `${latencyMs.toFixed(1)} ms`,
    formatBytes(traffic.bytesUp),
    formatBytes(traffic.bytesDown),
    String(traffic.stores),
    String(traffic.loads),
    String(traffic.lists),
  ]);
  const heading = ['step', 'commit to visible', 'uploaded', 'downloaded', 'PUT', 'GET', 'LIST'];
  console.log(`\n${formatTable(heading, rows, new Set(heading.slice(1)))}`);
}

function printHelp(scenario: Scenario, folder: string): void {
  const [first, second] = scenario.hosts;
  console.log(`
Still running, in ${folder}. Write by hand, in another terminal:
  npm run demo -- put ${first?.lmdbFile} KEY VALUE
  npm run demo -- get ${second?.lmdbFile} KEY
  npm run demo -- delete ${second?.lmdbFile} KEY
  npx lightningstream --config ${first?.agent.configFile} snapshots list --long
Status pages (also /healthz, /metrics, /storage):`);
  for (const { name, agent } of scenario.hosts) {
    console.log(`  ${name.toUpperCase()}: ${agent.url}/`);
  }
  console.log('Ctrl-C ends it and removes the folder.');
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    // Signal handlers alone do not keep a process alive.
    const alive = setInterval(() => {}, 60_000);
    const end = (): void => {
      clearInterval(alive);
      resolve();
    };
    // For good, not once: Ctrl-C under npm comes twice, and the second must not cut the clean-up off.
    process.on('SIGINT', end);
    process.on('SIGTERM', end);
  });
}

function byHand([verb, file, key, value]: readonly string[]): number {
  if (file === undefined || key === undefined || (verb === 'put') !== (value !== undefined)) {
    console.error(USAGE);
    return 2;
  }
  using application = Application.open(file);
  switch (verb) {
    case 'put':
    case 'delete':
      application.write([{ key, value }]);
      return 0;
    case 'get': {
      const stored = application.read(key);
      console.log(stored === undefined || stored.deleted ? '(none)' : stored.value);
      return 0;
    }
    default:
      console.error(USAGE);
      return 2;
  }
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(`Error: ${errorText(error)}\n${USAGE}`);
    process.exitCode = 2;
  },
);
