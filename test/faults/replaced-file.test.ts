import { copyFile, readFile, rename, rm, writeFile } from 'node:fs/promises';
import type { AgentProcess } from '../../demo/agent-process.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(120_000);

let fleet: Fleet;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(() => fleet.close());

async function health(agent: AgentProcess): Promise<{ ok: boolean; text: string }> {
  const response = await fetch(`${agent.url}/healthz`);
  return { ok: response.status === 200, text: await response.text() };
}

async function equal(agents: readonly AgentProcess[], what: string): Promise<void> {
  await eventually(
    () =>
      JSON.stringify(contents(fleet.application('a'))) ===
      JSON.stringify(contents(fleet.application('b'))),
    { what, agents },
  );
}

/** Both hosts in step, with a backup of A from before its last change; A's application is stopped. */
async function withBackup(): Promise<{ agents: AgentProcess[]; file: string; backup: string }> {
  const file = fleet.lmdbFile('a');
  const backup = `${file}.backup`;
  fleet.application('a').write([{ key: 'first', value: 'in the backup' }]);
  fleet.application('b');
  const agents = [await fleet.startAgent('a'), await fleet.startAgent('b')];
  await equal(agents, 'the first change is on both');
  await copyFile(file, backup);
  fleet.application('a').write([{ key: 'second', value: 'after the backup' }]);
  await equal(agents, 'the second change is on both');
  fleet.stopApplication('a');
  return { agents, file, backup };
}

const WAYS: readonly [how: string, replace: (file: string, backup: string) => Promise<void>][] = [
  ['moved over it, beside the old lock file', (file, backup) => rename(backup, file)],
  [
    'moved over it, without the old lock file',
    async (file, backup) => {
      await rm(`${file}-lock`);
      await rename(backup, file);
    },
  ],
  [
    'copied after the old one was removed',
    async (file, backup) => {
      await rm(file);
      await copyFile(backup, file);
    },
  ],
  [
    'copied over it in place',
    async (file, backup) => writeFile(file, await readFile(backup), { flag: 'r+' }),
  ],
];

test.each(WAYS)('a backup %s is synced both ways at once', async (_how, replace) => {
  const { agents, file, backup } = await withBackup();
  await replace(file, backup);
  const [a] = agents as [AgentProcess];
  await eventually(async () => (await a.log()).includes('The LMDB is open again'), {
    what: 'the agent has opened the backup',
    agents,
  });
  fleet.application('a').write([{ key: 'third', value: 'after the restore' }]);
  fleet.application('b').write([{ key: 'fourth', value: 'from elsewhere' }]);
  await equal(agents, 'both are in step again');
  expect(Object.keys(contents(fleet.application('a')))).toEqual(
    expect.arrayContaining(['first', 'second', 'third', 'fourth']),
  );
  expect(await health(a)).toMatchObject({ ok: true });
});

test('a lock file of another data file is refused by name, until the application has let go of it', async () => {
  const { agents, file, backup } = await withBackup();
  const [a] = agents as [AgentProcess];
  for (let i = 0; i < 20; i += 1) {
    fleet.application('a').write([{ key: 'second', value: `counts on ${i}` }]);
  }
  await equal(agents, 'all is sent');
  // The application holds the old lock file, and goes on with it.
  await rename(backup, file);
  await eventually(async () => (await health(a)).text.includes('the lock table of'), {
    what: 'it is on /healthz',
    agents,
  });
  expect((await a.log()).match(/the lock table of/g)?.length).toBeLessThan(4);
  fleet.stopApplication('a');
  await eventually(async () => (await a.log()).includes('The LMDB is open again'), {
    what: 'the agent goes on',
    agents,
  });
  fleet.application('a').write([{ key: 'third', value: 'after the restart' }]);
  await equal(agents, 'both are in step again');
});

test('an agent that is stopped while there is no file ends cleanly', async () => {
  const { agents, file } = await withBackup();
  const [a] = agents as [AgentProcess];
  await rm(file);
  await eventually(async () => (await a.log()).includes('cannot open the LMDB again'), {
    what: 'it says so',
    agents,
  });
  expect(await a.stop()).toBe(0);
});
