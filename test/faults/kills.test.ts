import { once } from 'node:events';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import type { Application } from '../../demo/application.ts';
import { collectPages } from '../../agent/lmdb/pages/diff.ts';
import { DataFile } from '../../agent/lmdb/pages/data-file.ts';
import { eventually, Fleet } from '../support/hosts.ts';
import { reportFigure } from '../support/figures.ts';
import { SeededRandom } from '../support/random.ts';
import { dumpLmdb, PlainApplication } from '../support/shadow.ts';
import { Acknowledged } from './acknowledged.ts';

/** KILLS=1000 for a longer search, KILL_SEED to choose its moments; which instruction a kill meets no seed can tell. */
const kills = Number(process.env['KILLS'] ?? 30);
const seed = Number(process.env['KILL_SEED'] ?? 1);

/** About as long as a start takes. */
const START_MS = 500;

jest.setTimeout(120_000 + kills * 5_000);

type Schema = 'native' | 'shadow';
type Host = {
  readonly name: string;
  readonly acknowledged: Acknowledged;
  agent: AgentProcess;
  /** When the agent was started. */
  startMs: number;
  writer: ChildProcess;
};

let fleet: Fleet;
let hosts: Host[];

beforeEach(async () => {
  fleet = await Fleet.open();
  hosts = [];
});
afterEach(() => fleet.close());

const DBI = 'records';
const SETTINGS: Record<Schema, string> = {
  native: 'schema_tracks_changes: true',
  shadow: 'schema_tracks_changes: false',
};

const startAgent = (name: string, schema: Schema) =>
  fleet.startAgent(name, { databaseSettings: SETTINGS[schema], settings: 'log: {level: debug}\n' });

async function startWriter(
  name: string,
  schema: Schema,
  acknowledged: Acknowledged,
): Promise<ChildProcess> {
  const from = String(acknowledged.last);
  const child = fleet.spawnChild('acked-writer.ts', fleet.lmdbFile(name), schema, name, from, '3');
  await acknowledged.listen(child);
  return child;
}

async function open(name: string, schema: Schema): Promise<Host> {
  // Made before anybody else opens it, so that all agree on its map.
  if (schema === 'native') {
    fleet.application(name);
  } else {
    await new PlainApplication(fleet.lmdbFile(name)).close();
  }
  const acknowledged = new Acknowledged();
  const writer = await startWriter(name, schema, acknowledged);
  const startMs = performance.now();
  return { name, acknowledged, writer, startMs, agent: await startAgent(name, schema) };
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) {
    return;
  }
  const ended = once(child, 'close');
  child.kill('SIGKILL');
  await ended;
}

/** What an application reads. */
function contentOf(host: Host, schema: Schema): Map<string, string> {
  const content = new Map<string, string>();
  if (schema === 'native') {
    const application: Application = fleet.application(host.name);
    for (const { key, value, deleted } of application.entries()) {
      if (!deleted) {
        content.set(key, value ?? '');
      }
    }
    return content;
  }
  const dbi = dumpLmdb(fleet.lmdbFile(host.name)).find(({ name }) => name === DBI);
  for (const { key, value } of dbi?.entries ?? []) {
    content.set(Buffer.from(key, 'hex').toString(), Buffer.from(value, 'hex').toString());
  }
  return content;
}

function faults(schema: Schema): string[] {
  const contents = hosts.map((host) => contentOf(host, schema));
  return hosts.flatMap(({ acknowledged }) =>
    contents.flatMap((content, at) =>
      acknowledged
        .faults((key) => content.get(key))
        .map((text) => `on ${hosts[at]?.name}: ${text}`),
    ),
  );
}

const same = (schema: Schema) => {
  const [first, ...others] = hosts.map((host) =>
    JSON.stringify([...contentOf(host, schema)].toSorted(([x], [y]) => (x < y ? -1 : 1))),
  );
  return others.every((content) => content === first);
};

test.each(['native', 'shadow'] as const)(
  `agents and applications killed at any moment lose nothing that was committed: %s schema, ${kills} kills, seed ${seed}`,
  async (schema) => {
    const random = new SeededRandom(seed);
    for (const name of ['a', 'b']) {
      hosts.push(await open(name, schema));
    }
    const hit = { young: 0, old: 0 };
    for (let done = 0; done < kills;) {
      // Short times meet the start, longer ones an upload, a merge or nothing at all.
      await sleep(random.chance(0.5) ? 20 + random.next() * 350 : 300 + random.next() * 1200);
      const host = random.pick(hosts);
      const victim = random.weighted({ agent: 6, writer: 1, both: 2 });
      if (victim !== 'writer') {
        hit[performance.now() - host.startMs < START_MS ? 'young' : 'old'] += 1;
      }
      await Promise.all([
        victim === 'agent' ? undefined : kill(host.writer),
        victim === 'writer' ? undefined : kill(host.agent.child),
      ]);
      done += victim === 'both' ? 2 : 1;
      await sleep(random.chance(0.3) ? random.next() * 300 : 0);
      if (victim !== 'agent') {
        host.writer = await startWriter(host.name, schema, host.acknowledged);
      }
      if (victim !== 'writer') {
        host.startMs = performance.now();
        host.agent = await startAgent(host.name, schema);
      }
    }
    await Promise.all(hosts.map(({ writer }) => kill(writer)));
    await eventually(() => faults(schema).length === 0 && same(schema), {
      what: 'everything committed on both hosts',
      agents: hosts.map(({ agent }) => agent),
      timeoutMs: 60_000,
    }).catch((error: unknown) => {
      expect(faults(schema).slice(0, 20)).toEqual([]);
      throw error;
    });
    for (const { agent } of hosts) {
      expect(await agent.stop()).toBe(0);
    }
    expect(faults(schema)).toEqual([]);
    for (const { name } of hosts) {
      using file = DataFile.open(fleet.lmdbFile(name));
      // Every page of every tree, each once.
      collectPages(file, file.readMeta());
    }
    const committed = hosts.reduce((sum, { acknowledged }) => sum + acknowledged.committed, 0);
    reportFigure(
      `${kills} kills, ${schema} schema: ${hit.young} of agents in their first half second, ${hit.old} of older ones; ${committed} committed writes, all there`,
    );
  },
);
