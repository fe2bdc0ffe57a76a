import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { errorText } from '../protocol/errors.ts';
import type { Traffic } from './agent-process.ts';
import { Application } from './application.ts';
import { AWS_AGENTS, AwsScenario } from './aws-scenario.ts';
import { AwsDeployment } from './aws-deployment.ts';
import { findMiniStack, startMiniStack } from './ministack.ts';
import { Scenario, type StepResult } from './scenario.ts';
import { formatTraffic, formatTable } from './table.ts';
import { silenceSdkWarning } from '../storage/sdk-warning.ts';

const USAGE = `Usage: npm run demo [-- --keep]              two agents, then a third, over a folder as the bucket
       npm run demo -- --aws [--keep]        the same through the stack in infra/, deployed on an emulator of AWS
       npm run demo -- put FILE KEY VALUE    write one record into an LMDB of a kept demo
       npm run demo -- delete FILE KEY
       npm run demo -- get FILE KEY`;

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      aws: { type: 'boolean', default: false },
      keep: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' },
    },
    allowPositionals: true,
  });
  if (values.help === true) {
    console.log(USAGE);
    return 0;
  }
  if (positionals.length > 0) {
    return byHand(positionals);
  }
  const folder = await mkdtemp(join(tmpdir(), 'lightningstream-demo-'));
  try {
    return await (values.aws ? awsDemo(folder, values.keep) : folderDemo(folder, values.keep));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type Report = (result: StepResult) => void;

async function folderDemo(folder: string, keep: boolean): Promise<number> {
  console.log('Starting two agents on two empty LMDBs; a folder stands for the S3 bucket.\n');
  return demo((report) => new Scenario(folder, report), { folder, keep, columns: COLUMNS });
}

async function awsDemo(folder: string, keep: boolean): Promise<number> {
  console.log(
    'Starting MiniStack, an emulator of AWS; the first time it is installed under .venv.',
  );
  const program = findMiniStack();
  if (program === undefined) {
    return 1;
  }
  silenceSdkWarning();
  const ministack = await startMiniStack(program);
  try {
    console.log('Deploying infra/ with cdk bootstrap and cdk deploy.');
    const started = performance.now();
    const deployment = await AwsDeployment.deploy(ministack, { agents: AWS_AGENTS, folder });
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    console.log(`Deployed in ${seconds} s. Starting two agents on two empty LMDBs.\n`);
    return await demo((report) => new AwsScenario(folder, report, deployment), {
      folder,
      keep,
      columns: { ...COLUMNS, SQS: ({ queueRequests }) => String(queueRequests) },
    });
  } finally {
    await ministack.stop();
  }
}

async function demo(
  create: (report: Report) => Scenario,
  options: { folder: string; keep: boolean; columns: Columns },
): Promise<number> {
  const { folder, keep, columns } = options;
  const results: StepResult[] = [];
  const scenario = create((result) => {
    results.push(result);
    console.log(`${result.step}: ${result.happened} (${result.latencyMs.toFixed(1)} ms)`);
  });
  try {
    await scenario.run();
    printTable(results, columns);
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
  }
}

/** The table's columns behind step and time. */
type Columns = Readonly<Record<string, (traffic: Traffic) => string>>;

const COLUMNS: Columns = {
  uploaded: ({ bytesUp }) => formatTraffic(bytesUp),
  downloaded: ({ bytesDown }) => formatTraffic(bytesDown),
  PUT: ({ stores }) => String(stores),
  GET: ({ loads }) => String(loads),
  LIST: ({ lists }) => String(lists),
};

function printTable(results: readonly StepResult[], columns: Columns): void {
  const rows = results.map(({ step, latencyMs, traffic }) => [
    step,
    `${latencyMs.toFixed(1)} ms`,
    ...Object.values(columns).map((textOf) => textOf(traffic)),
  ]);
  const heading = ['step', 'commit to visible', ...Object.keys(columns)];
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
