import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { PurgeQueueCommand, SendMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { parse, stringify } from 'yaml';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { parseManifest, type Manifest } from '../../protocol/manifest.ts';
import { bucketIdName, manifestName } from '../../protocol/object-name.ts';
import { bytesBody } from '../../storage/bodies.ts';
import type { S3ObjectStore } from '../../storage/s3/store.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';
import { AwsStack } from '../support/aws/aws-stack.ts';
import makeBundle from '../support/bundle-setup.cjs';
import { SIGNAL, TestWriter, entry, names, readObject } from '../support/compaction.ts';
import { freePort } from '../../demo/free-port.ts';
import { commandsOf, blockOf, section } from '../support/markdown.ts';
import { findMiniStack, startMiniStack, type MiniStack } from '../support/aws/ministack.ts';

const ROOT = resolve(__dirname, '../..');
/** One command; the longest takes a quarter of it. */
const COMMAND_TIMEOUT_MS = 150_000;
/** A minute of the schedule, twice, on a loaded machine. */
const SCHEDULE_TIMEOUT_MS = 200_000;
const FOREIGN = 'notes of somebody else.txt';
/** Where the command is installed, as docs/install.md says. */
const BIN = 'installed';

const program = findMiniStack();
const suite = program === undefined ? describe.skip : describe;

type AgentYaml = {
  readonly lmdbs: Readonly<Record<string, { path: string }>>;
  readonly storage: { readonly options: object };
  readonly notices: object;
};

suite('the commands of README and docs/deploy.md, word by word', () => {
  let ministack: MiniStack;
  let stack: AwsStack;
  let store: S3ObjectStore;
  let sqs: SQSClient;
  let fleet: Fleet;
  let folder: string;
  let readme: string;
  let commands: string[];
  const children: ChildProcess[] = [];

  beforeAll(async () => {
    makeBundle();
    readme = await readFile(join(ROOT, 'README.md'), 'utf8');
    const guide = await readFile(join(ROOT, 'docs/deploy.md'), 'utf8');
    ministack = await startMiniStack(program ?? '', { tls: true, env: { AUTH: 'true' } });
    fleet = await Fleet.open();
    folder = await mkdtemp(join(tmpdir(), 'deploy-'));
    await makeProject(folder, blockOf(section(guide, '2. Say what you have'), 'json'));
    // The other one is for a bucket that exists already.
    commands = commandsOf(section(guide, '3. Deploy')).filter((line) => line.startsWith('npx'));
    for (const command of commands) {
      await run(command);
    }
    stack = await AwsStack.inFolder(ministack, folder);
    store = await stack.store();
    sqs = stack.sqs();
  }, 500_000);

  afterAll(async () => {
    for (const child of children) {
      endGroup(child, 'SIGKILL');
    }
    await fleet?.close();
    await store?.close();
    sqs?.destroy();
    stack?.close();
    await ministack?.stop();
    await rm(folder, { recursive: true, force: true });
  }, 30_000);

  /** What an administrator's shell and the emulator need. */
  function environment(): NodeJS.ProcessEnv {
    const { caFile = '', endpoint, accessKey, secretKey } = ministack;
    return {
      PATH: `${join(folder, BIN)}:${process.env['PATH']}`,
      HOME: process.env['HOME'],
      CI: 'true',
      // npx makes a package that it has never run ready first: no second build of what other agents run, nothing left behind.
      npm_config_ignore_scripts: 'true',
      npm_config_cache: join(folder, 'npm-cache'),
      // Nobody is there to confirm the new policies.
      CDK_REQUIRE_APPROVAL: 'never',
      AWS_ENDPOINT_URL: endpoint,
      AWS_ACCESS_KEY_ID: accessKey,
      AWS_SECRET_ACCESS_KEY: secretKey,
      AWS_REGION: 'us-east-1',
      AWS_CA_BUNDLE: caFile,
      NODE_EXTRA_CA_CERTS: caFile,
    };
  }

  async function run(command: string): Promise<void> {
    try {
      await promisify(execFile)('sh', ['-c', command], {
        cwd: folder,
        timeout: COMMAND_TIMEOUT_MS,
        killSignal: 'SIGKILL',
        maxBuffer: 64 * 1024 * 1024,
        env: environment(),
      });
    } catch (error) {
      const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
      throw new Error(`${command}\n${stdout.slice(-3000)}\n${stderr.slice(-3000)}`, {
        cause: error,
      });
    }
  }

  /** An agent with the configuration from the outputs, and what the emulator needs. */
  function startAgent(name: string, options: { yamlOf?: string; settings?: object } = {}) {
    const yaml = parse(stack.agentYaml(options.yamlOf ?? name)) as AgentYaml;
    const endpoint = { endpoint_url: ministack.endpoint };
    const { accessKey, secretKey, caFile = '' } = ministack;
    return fleet.startAgent(name, {
      storage: `  type: s3\n  options: ${JSON.stringify({ ...yaml.storage.options, ...endpoint })}\n`,
      settings: stringify({ notices: { ...yaml.notices, ...endpoint }, ...options.settings }),
      env: {
        AWS_ACCESS_KEY_ID: accessKey,
        AWS_SECRET_ACCESS_KEY: secretKey,
        NODE_EXTRA_CA_CERTS: caFile,
      },
    });
  }

  test('a host follows them and is in sync with another one', async () => {
    const [bootstrap, deploy, print = '', sync = ''] = commandsOf(section(readme, 'Deploy'));
    expect(commands.slice(-2)).toEqual([bootstrap, deploy]);
    await run(print);
    const file = join(folder, 'lightningstream.yaml');
    const yaml = parse(await readFile(file, 'utf8')) as AgentYaml;
    expect(Object.keys(yaml.lmdbs)).toEqual(['main', 'shard']);
    for (const [database, lmdb] of Object.entries(yaml.lmdbs)) {
      fleet.application('ns1', database);
      lmdb.path = fleet.lmdbFile('ns1', database);
    }
    Object.assign(yaml.storage.options, { endpoint_url: ministack.endpoint });
    Object.assign(yaml.notices, { endpoint_url: ministack.endpoint });
    await writeFile(
      file,
      stringify({ ...yaml, http: { address: `127.0.0.1:${await freePort()}` } }),
    );
    const [ns1, ns2] = [fleet.application('ns1'), fleet.application('ns2')];
    ns1.write([{ key: 'first', value: '1' }]);
    const [command = '', ...args] = sync.split(' ');
    // A group of its own, as a terminal makes one.
    const child = spawn(command, args, {
      cwd: folder,
      env: environment(),
      stdio: ['ignore', 'ignore', 'pipe'],
      detached: true,
    });
    child.stderr.resume();
    children.push(child);
    const other = await startAgent('ns2');
    const agents = [other];
    await eventually(() => ns2.read('first')?.value === '1', {
      what: 'the first entry in ns2',
      agents,
      timeoutMs: 60_000,
    });
    ns2.write([{ key: 'second', value: '2' }]);
    await eventually(() => ns1.read('second')?.value === '2', {
      what: 'the second entry in ns1',
      agents,
      timeoutMs: 60_000,
    });
    // "close", not "exit": the agent is done when nobody holds the pipe.
    const ended = once(child, 'close');
    endGroup(child, 'SIGTERM');
    await ended;
    await other.stop();
  }, 200_000);

  test('an agent that was away for longer than its notices wait catches up by listing', async () => {
    const [ns1, ns2] = [fleet.application('ns1'), fleet.application('ns2')];
    const writer = await startAgent('ns1');
    await writer.ready(60_000);
    for (let i = 0; i < 5; i += 1) {
      const stored = (await writer.traffic()).stores;
      ns1.write([{ key: `away ${i}`, value: String(i) }]);
      await eventually(async () => (await writer.traffic()).stores > stored, {
        what: `object ${i}`,
        agents: [writer],
      });
    }
    // What the retention does after hours. A pause lets the last notice come first.
    await sleep(1000);
    await sqs.send(new PurgeQueueCommand({ QueueUrl: stack.queueUrl('ns2') }));
    const back = await startAgent('ns2', { settings: { storage_safety_list_interval: '10h' } });
    await eventually(() => ns2.read('away 4')?.value === '4', {
      what: 'what happened meanwhile',
      agents: [writer, back],
      timeoutMs: 60_000,
    });
    expect(contents(ns2)).toEqual(contents(ns1));
    expect((await back.traffic()).lists).toBe(1);
    await Promise.all([writer.stop(), back.stop()]);
  }, 200_000);

  test('compaction on its schedule while agents write; a new host has it all from the base', async () => {
    const applications = [fleet.application('ns1'), fleet.application('ns2')];
    const agents = [await startAgent('ns1'), await startAgent('ns2')];
    await Promise.all(agents.map((agent) => agent.ready(60_000)));
    // What no state can cover: number 5 of a stream whose first four never came, and somebody else's object.
    const dead = new TestWriter(store, { instance: 'ns4', run: 'dead' });
    dead.seq = 4n;
    const behindGap = await dead.delta([{ name: 'd', entries: [entry('k', 'v', 1n)] }]);
    await store.put(FOREIGN, bytesBody(Buffer.from('x')), SIGNAL);
    // Until a run of the schedule has published while the writing went on.
    const before = (await manifest())?.id;
    let round = 0;
    for (const end = Date.now() + SCHEDULE_TIMEOUT_MS; (await manifest())?.id === before;) {
      if (Date.now() > end) {
        throw new Error(`no publication in ${round} rounds`);
      }
      for (let i = 0; i < 10; i += 1, round += 1) {
        const value = round % 7 === 0 ? undefined : `round ${round}`;
        applications[round % 2]?.write([{ key: `key ${round % 40}`, value }]);
        await sleep(150);
      }
    }
    await eventually(() => equal(applications), { what: 'equal hosts', agents, timeoutMs: 60_000 });
    await Promise.all(agents.map((agent) => agent.stop()));
    const { base, level1 } = await untilOnly([behindGap], agents);
    const kept = [base, ...level1, behindGap, bucketIdName(), FOREIGN, manifestName('main')];
    expect((await names(store)).toSorted()).toEqual(expect.arrayContaining(kept));

    const fresh = fleet.application('ns3');
    const joining = await startAgent('ns3', {
      yamlOf: 'ns2',
      settings: { storage_safety_list_interval: '10h' },
    });
    await joining.ready(60_000);
    expect(contents(fresh)).toEqual(contents(fleet.application('ns1')));
    expect(await joining.traffic()).toMatchObject({ lists: 1, loads: 2 + level1.length });
    await joining.stop();
  }, 500_000);

  async function manifest(): Promise<Manifest | undefined> {
    const bytes = await readObject(store, manifestName('main'));
    return bytes === undefined ? undefined : parseManifest(bytes);
  }

  /** Until nothing that agents stored is left but these objects; the manifest then. */
  async function untilOnly(
    left: readonly string[],
    agents: readonly AgentProcess[],
  ): Promise<Manifest> {
    const isOfAgents = (name: string) => /^main__(?!compacted)/.test(name);
    await eventually(
      async () => {
        // What the schedule sends, without the wait for it.
        await sqs.send(
          new SendMessageCommand({
            QueueUrl: stack.output('CompactionJobsUrl'),
            MessageBody: JSON.stringify({ database: 'main', at: new Date().toISOString() }),
            MessageGroupId: 'main',
          }),
        );
        await sleep(3000);
        return (await names(store)).filter(isOfAgents).join() === left.join();
      },
      { what: 'a bucket without covered objects', agents, timeoutMs: 120_000 },
    );
    const published = await manifest();
    if (published === undefined) {
      throw new Error('nothing is published');
    }
    return published;
  }
});

function endGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    if (child.pid !== undefined) {
      process.kill(-child.pid, signal);
    }
  } catch {
    // Ended already.
  }
}

function equal(applications: Parameters<typeof contents>[0][]): boolean {
  return new Set(applications.map((host) => JSON.stringify(contents(host)))).size === 1;
}

/** A clone of the repository, as far as deploying needs one, with the guide's configuration in its cdk.json. */
async function makeProject(folder: string, configuration: string): Promise<void> {
  for (const name of await readdir(ROOT)) {
    if (!['cdk.json', 'cdk.out', 'outputs.json'].includes(name)) {
      await symlink(join(ROOT, name), join(folder, name));
    }
  }
  await mkdir(join(folder, BIN));
  const command = join(ROOT, 'dist/lightningstream.cjs');
  await symlink(command, join(folder, BIN, 'lightningstream'));
  const cdk = JSON.parse(await readFile(join(ROOT, 'cdk.json'), 'utf8')) as { context: object };
  const added = JSON.parse(`{${configuration}}`) as { lightningstream: object };
  const lightningstream = {
    ...added.lightningstream,
    // The test has no five minutes.
    compactionMinutes: 1,
    mustKeepMinutes: 0,
  };
  const context = { ...cdk.context, lightningstream };
  await writeFile(join(folder, 'cdk.json'), JSON.stringify({ ...cdk, context }));
}
