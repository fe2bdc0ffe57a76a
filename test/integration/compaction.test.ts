import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { compact } from '../../compaction/compact.ts';
import { DEFAULT_POLICY } from '../../compaction/policy.ts';
import type { CompactionReport } from '../../compaction/report.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import { openFilesystemStore } from '../../storage/folder/store.ts';
import { ScratchFolder } from '../../compaction/scratch/scratch-folder.ts';
import makeBundle from '../support/bundle-setup.cjs';
import { contents, eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(120_000);

const KEYS = 40;

describe('compaction beside living agents', () => {
  let fleet: Fleet;

  beforeAll(() => makeBundle());
  beforeEach(async () => {
    fleet = await Fleet.open();
  });
  afterEach(() => fleet.close());

  async function compactOnce(): Promise<CompactionReport> {
    const store = await openFilesystemStore({ rootPath: fleet.bucket });
    const scratch = await ScratchFolder.open(fleet.folder);
    try {
      return await compact({
        store,
        database: 'main',
        scratch,
        policy: { ...DEFAULT_POLICY, mustKeepMs: 0, smallBaseBytes: 0 },
        signal: new AbortController().signal,
        nowNs: () => BigInt(Date.now()) * 1_000_000n,
        monotonicMs: () => performance.now(),
        random: randomBytes,
        writer: 'test',
      });
    } finally {
      await scratch.close();
      await store.close();
    }
  }

  async function kindsInBucket(): Promise<string[]> {
    const store = await openFilesystemStore({ rootPath: fleet.bucket });
    const kinds: string[] = [];
    for await (const { name } of store.list('main__', { signal: new AbortController().signal })) {
      kinds.push(parseObjectName(name)?.kind ?? 'manifest');
    }
    return kinds;
  }

  test('hosts that write meanwhile stay equal, and a new one starts from the base alone', async () => {
    const settings = 'storage_poll_interval: 100ms\n';
    const hosts = ['a', 'b', 'c'];
    const applications = hosts.map((host) => fleet.application(host));
    const agents: AgentProcess[] = [];
    for (const host of hosts) {
      agents.push(await fleet.startAgent(host, { settings }));
    }
    await Promise.all(agents.map((agent) => agent.ready()));

    const levels = new Set<string>();
    for (let round = 0; round < 60; round++) {
      const application = applications[round % applications.length];
      const value = round % 7 === 0 ? undefined : `round ${round}`;
      application?.write([{ key: `key ${round % KEYS}`, value }]);
      if (round % 4 === 3) {
        levels.add((await compactOnce()).level);
      }
      await sleep(25);
    }
    const [a] = applications;
    const equal = (): boolean => {
      const texts = applications.map((application) => JSON.stringify(contents(application)));
      return a?.count() === KEYS && new Set(texts).size === 1;
    };
    await eventually(equal, { what: 'three equal hosts', agents });
    expect(levels).toContain('base');

    // Twice: what a first run publishes, it deletes; what came in meanwhile, the second one.
    await Promise.all(agents.splice(0).map((agent) => agent.stop()));
    await compactOnce();
    await compactOnce();
    const left = new Set(await kindsInBucket());
    expect(left).toEqual(new Set(['base', 'manifest']));

    const d = fleet.application('d');
    const joining = await fleet.startAgent('d', { settings });
    await joining.ready();
    await eventually(() => d.count() === KEYS, { what: 'all entries in d', agents: [joining] });
    expect(contents(d)).toEqual(a === undefined ? {} : contents(a));
  });
});
