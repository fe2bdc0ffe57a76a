import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { folderStorage, type AgentProcess } from '../../demo/agent-process.ts';
import { contents, eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(60_000);
const run = promisify(execFile);
const bundle = join(__dirname, '../../dist/lightningstream.cjs');

let fleet: Fleet;
let storage: string;
beforeEach(async () => {
  fleet = await Fleet.open();
  storage = `${folderStorage(fleet.bucket)}  cleanup:\n    must_keep_interval: 0s\n`;
});
afterEach(() => fleet.close());

/** The command as an operator runs it, with the configuration of an agent. */
async function compact(agent: AgentProcess, ...flags: string[]): Promise<string> {
  const args = [bundle, '--config', agent.configFile, 'compact', ...flags];
  return (await run(process.execPath, args)).stdout;
}

const objectsOf = async (...hosts: string[]) =>
  (await readdir(fleet.bucket)).filter((name) =>
    hosts.some((host) => name.startsWith(`main__${host}__`)),
  );

test('hosts that join or were away get everything from the base; who is there goes on undisturbed', async () => {
  const [a, b] = ['a', 'b'].map((host) => fleet.application(host)) as [
    ReturnType<Fleet['application']>,
    ReturnType<Fleet['application']>,
  ];
  const agentA = await fleet.startAgent('a', { storage });
  const agentB = await fleet.startAgent('b', { storage });
  await Promise.all([agentA.ready(), agentB.ready()]);
  a.write([
    { key: 'kept', value: 'from a' },
    { key: 'deleted', value: 'from a' },
  ]);
  await eventually(() => b.read('kept') !== undefined, { what: 'in b', agents: [agentA, agentB] });
  b.write([{ key: 'deleted', value: undefined }]);
  await eventually(() => a.read('deleted')?.deleted === true, {
    what: 'the delete in a',
    agents: [agentA, agentB],
  });

  expect(await agentB.stop()).toBe(0);
  for (let i = 0; i < 5; i += 1) {
    const { stores } = await agentA.traffic();
    a.write([{ key: `while b was away ${i}`, value: String(i) }]);
    await eventually(async () => (await agentA.traffic()).stores > stores, {
      what: 'an upload',
      agents: [agentA],
    });
  }
  await eventually(async () => (await objectsOf('a')).length >= 6, {
    what: 'objects of a',
    agents: [agentA],
  });
  expect(await compact(agentA, '--dry-run')).toContain('main: would publish a base');
  expect(await compact(agentA)).toContain('main: published a base');
  expect(await objectsOf('a', 'b')).toEqual([]);

  // Objects that b never saw are gone; the manifest leads to the base that has them.
  const again = await fleet.startAgent('b', { storage });
  const c = fleet.application('c');
  const joining = await fleet.startAgent('c', { storage });
  const agents = [agentA, again, joining];
  await Promise.all([again.ready(), joining.ready()]);
  expect(contents(b)).toEqual(contents(a));
  expect(contents(c)).toEqual(contents(a));
  expect((await joining.traffic()).loads).toBe(1);

  a.write([{ key: 'after', value: '1' }]);
  await eventually(() => [b, c].every((host) => host.read('after')?.value === '1'), {
    what: 'a write after the compaction',
    agents,
  });
  b.write([{ key: 'after', value: '2' }]);
  await eventually(() => [a, c].every((host) => host.read('after')?.value === '2'), {
    what: 'a write of the host that was away',
    agents,
  });
});

test('under compaction all the time, nothing is lost and hosts stay equal', async () => {
  const a = fleet.application('a');
  const b = fleet.application('b');
  const agents = [
    await fleet.startAgent('a', { storage }),
    await fleet.startAgent('b', { storage }),
  ] as const;
  await Promise.all(agents.map((agent) => agent.ready()));
  for (let round = 0; round < 5; round += 1) {
    for (let i = 0; i < 10; i += 1) {
      a.write([{ key: `a ${round} ${i}`, value: String(i) }]);
      b.write([{ key: `b ${round} ${i}`, value: String(i) }]);
    }
    await compact(agents[0]);
  }
  await eventually(() => a.count() === 100 && b.count() === 100, { what: '100 keys', agents });
  expect(contents(a)).toEqual(contents(b));
  await compact(agents[0]);
  const c = fleet.application('c');
  const joining = await fleet.startAgent('c', { storage });
  await joining.ready();
  expect(contents(c)).toEqual(contents(a));
});
