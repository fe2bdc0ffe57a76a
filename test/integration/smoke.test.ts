import { execFile } from 'node:child_process';
import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { contents, eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(60_000);
const run = promisify(execFile);
const bundle = join(__dirname, '../../dist/lightningstream.cjs');

let fleet: Fleet;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(() => fleet.close());

test('the bundle prints its help without a configuration, and the version of the package', async () => {
  const help = await run(process.execPath, [bundle, '--help'], { cwd: fleet.folder });
  expect(help.stdout).toContain('sync');
  const { version } = JSON.parse(await readFile(join(__dirname, '../../package.json'), 'utf8')) as {
    version: string;
  };
  const printed = await run(process.execPath, [bundle, 'version'], { cwd: fleet.folder });
  expect(printed.stdout.trim()).toContain(version);
});

test('what is written or deleted on either host is on the other, and a host that joins gets all of it', async () => {
  const a = fleet.application('a');
  const b = fleet.application('b');
  const agents = [await fleet.startAgent('a'), await fleet.startAgent('b')];
  await Promise.all(agents.map((agent) => agent.ready()));

  a.write([{ key: 'one', value: 'from a' }]);
  await eventually(() => b.read('one')?.value === 'from a', { what: 'a write in b', agents });
  b.write([{ key: 'two', value: 'from b' }]);
  await eventually(() => a.read('two')?.value === 'from b', { what: 'a write in a', agents });
  b.write([{ key: 'one', value: undefined }]);
  await eventually(() => a.read('one')?.deleted === true, { what: 'a delete in a', agents });

  const c = fleet.application('c');
  agents.push(await fleet.startAgent('c'));
  // Objects are merged one by one, so the delete may come a moment after what it deletes.
  await eventually(() => c.read('one')?.deleted === true && c.read('two') !== undefined, {
    what: 'the state in c',
    agents,
  });
  expect(contents(c)).toEqual({ one: null, two: 'from b' });
  expect(contents(a)).toEqual(contents(c));
});

test('both databases of one process are synced, each with its own', async () => {
  for (const host of ['a', 'b']) {
    fleet.application(host, 'main');
    fleet.application(host, 'shard');
  }
  const databases = (host: string) => ({
    main: fleet.lmdbFile(host, 'main'),
    shard: fleet.lmdbFile(host, 'shard'),
  });
  const agents = [
    await fleet.startAgent('a', { databases: databases('a') }),
    await fleet.startAgent('b', { databases: databases('b') }),
  ];
  await Promise.all(agents.map((agent) => agent.ready()));
  fleet.application('a', 'main').write([{ key: 'zone', value: '1' }]);
  fleet.application('a', 'shard').write([{ key: 'record', value: '2' }]);
  const main = fleet.application('b', 'main');
  const shard = fleet.application('b', 'shard');
  await eventually(() => main.count() === 1 && shard.count() === 1, { what: 'both in b', agents });
  expect(contents(main)).toEqual({ zone: '1' });
  expect(contents(shard)).toEqual({ record: '2' });
});

test('SIGTERM uploads the last change and ends with exit code 0', async () => {
  const a = fleet.application('a');
  const agent = await fleet.startAgent('a');
  await agent.ready();
  a.write([{ key: 'last', value: 'words' }]);
  expect(await agent.stop('SIGTERM')).toBe(0);

  const b = fleet.application('b');
  const reader = await fleet.startAgent('b');
  await eventually(() => b.read('last')?.value === 'words', {
    what: 'the last change in b',
    agents: [agent, reader],
  });
});

test('a restarted agent sends what was written meanwhile and fetches nothing that it has', async () => {
  const a = fleet.application('a');
  const b = fleet.application('b');
  const first = await fleet.startAgent('a');
  const other = await fleet.startAgent('b');
  await Promise.all([first.ready(), other.ready()]);
  for (let i = 0; i < 20; i++) {
    b.write([{ key: `key-${i}`, value: String(i) }]);
  }
  await eventually(() => a.count() === 20, { what: '20 entries in a', agents: [first, other] });
  expect(await first.stop()).toBe(0);
  expect(await other.stop()).toBe(0);

  const before = new Set(await readdir(fleet.bucket));
  a.write([{ key: 'meanwhile', value: 'nobody watched' }]);
  const again = await fleet.startAgent('a');
  await again.ready();
  await eventually(async () => (await again.traffic()).stores > 0, {
    what: 'an upload of what was written meanwhile',
    agents: [again],
  });
  expect((await again.traffic()).bytesDown).toBeLessThan(100);
  const added = (await readdir(fleet.bucket)).filter((name) => !before.has(name));
  expect(added).toHaveLength(1);
});
