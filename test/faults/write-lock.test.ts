import { once } from 'node:events';
import { contents, eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(60_000);
const HOLD_MS = 10_000;

let fleet: Fleet;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(() => fleet.close());

test('while another process holds the write lock, /healthz answers and downloads go on', async () => {
  const a = fleet.application('a');
  const b = fleet.application('b');
  const agents = [await fleet.startAgent('a'), await fleet.startAgent('b')] as const;
  await Promise.all(agents.map((agent) => agent.ready()));
  a.write([{ key: 'before', value: '1' }]);
  await eventually(() => b.read('before') !== undefined, { what: 'the first write in b', agents });

  const holder = await fleet.startChild('lock-holder.ts', fleet.lmdbFile('b'), String(HOLD_MS));
  const hold = { over: false };
  holder.stdout?.once('data', () => (hold.over = true));
  const released = once(holder, 'close');
  const loadsBefore = (await agents[1].traffic()).loads;
  a.write([{ key: 'during', value: '2' }]);

  let answers = 0;
  let loadsDuring = loadsBefore;
  while (!hold.over) {
    await agents[1].health();
    const { loads } = await agents[1].traffic();
    if (!hold.over) {
      answers++;
      loadsDuring = loads;
    }
  }
  await released;
  expect(loadsDuring).toBeGreaterThan(loadsBefore);
  // An agent that waits for the lock on its main thread gives one answer, at the end.
  expect(answers).toBeGreaterThan(20);

  await eventually(() => b.read('during')?.value === '2', { what: 'the merge after it', agents });
  expect(contents(b)).toEqual(contents(a));
});

test('a write lock that is never given back is a failure that names who has it', async () => {
  const a = fleet.application('a');
  fleet.application('b');
  const settings = 'health: {storage_list: {warn_duration: 500ms, error_duration: 1s}}\n';
  const agents = [await fleet.startAgent('a'), await fleet.startAgent('b', { settings })] as const;
  await Promise.all(agents.map((agent) => agent.ready()));
  const holder = await fleet.startChild('lock-holder.ts', fleet.lmdbFile('b'), String(60_000));
  a.write([{ key: 'during', value: '2' }]);

  let failures: Readonly<Record<string, string>> = {};
  await eventually(
    async () => {
      ({ failures } = (await agents[1].health()) as { failures: typeof failures });
      return failures['main_lmdb_stalled'] !== undefined;
    },
    { what: 'the failure', agents },
  );
  expect(failures['main_lmdb_stalled']).toMatch(
    new RegExp(`waits for the LMDB to merge .* the write lock, held by .*process ${holder.pid}`),
  );
  expect((await fetch(`${agents[1].url}/livez`)).status).toBe(200);
  expect((await fetch(`${agents[1].url}/readyz`)).status).toBe(503);
  holder.kill('SIGKILL');
  await eventually(async () => (await agents[1].health())['ok'] === true, {
    what: 'health after it',
    agents,
  });
});

test('while the write lock of one database is held, another one receives', async () => {
  const databases = (host: string) => ({
    main: fleet.lmdbFile(host),
    shard: fleet.lmdbFile(host, 'shard'),
  });
  // One place for a database, and a pass that finds several objects of main.
  const settings = `memory_downloaded_snapshots: 1
storage_poll_interval: 2s
notices: {type: poll}
`;
  const options = (host: string) => ({ databases: databases(host), settings });
  const main = fleet.application('a');
  const shard = fleet.application('a', 'shard');
  fleet.application('b');
  const received = fleet.application('b', 'shard');
  const a = await fleet.startAgent('a', options('a'));
  const b = await fleet.startAgent('b', options('b'));
  const agents = [a, b];
  await Promise.all(agents.map((agent) => agent.ready()));
  // Full snapshots, ahead of which nothing is fetched.
  main.write([{ key: 'before', value: '1' }]);
  shard.write([{ key: 'before', value: '1' }]);
  const isThere = () =>
    [fleet.application('b'), received].every((there) => there.read('before') !== undefined);
  await eventually(isThere, { what: 'the first writes', agents });

  const holder = await fleet.startChild('lock-holder.ts', fleet.lmdbFile('b'), String(HOLD_MS));
  const hold = { over: false };
  holder.stdout?.once('data', () => (hold.over = true));
  const released = once(holder, 'close');
  const { loads: loadsBefore } = await b.traffic();
  for (let change = 0; change < 5; change += 1) {
    const { stores } = await a.traffic();
    main.write([{ key: `k${change}`, value: '1' }]);
    await eventually(async () => (await a.traffic()).stores > stores, {
      what: 'an object',
      agents,
    });
  }
  await eventually(async () => (await b.traffic()).loads > loadsBefore, {
    what: 'a load of main, which then waits for the lock',
    agents,
  });
  shard.write([{ key: 'during', value: '2' }]);
  await eventually(() => received.read('during') !== undefined || hold.over, {
    what: 'the write to shard',
    agents,
  });
  expect(hold.over).toBe(false);
  await released;
});
