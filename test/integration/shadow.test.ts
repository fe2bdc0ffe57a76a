import { dumpText, PlainApplication } from '../support/shadow.ts';
import { eventually, Fleet } from '../support/hosts.ts';

jest.setTimeout(60_000);

const databaseSettings = 'dupsort_hack: true';

let fleet: Fleet;
const applications: PlainApplication[] = [];

beforeEach(async () => {
  fleet = await Fleet.open();
});

afterEach(async () => {
  await fleet.close();
  for (const application of applications.splice(0)) {
    await application.close();
  }
});

function application(host: string): PlainApplication {
  const opened = new PlainApplication(fleet.lmdbFile(host));
  applications.push(opened);
  return opened;
}

/** What the application of a host sees. */
function plain(host: string): Record<string, Record<string, string>> {
  const entries = Object.entries(dumpText(fleet.lmdbFile(host)));
  return Object.fromEntries(entries.filter(([name]) => !name.startsWith('_sync')));
}

test('applications without headers see each other’s writes and deletes, and a host that joins all of it', async () => {
  const a = application('a');
  const b = application('b');
  a.create('domains', 8);
  a.create('domains_0', 4 + 16);
  a.write((txn) => {
    txn.put('domains', '\x01\0\0\0', 'example.org');
    txn.put('domains_0', 'org example', '\x01\0\0\0');
    txn.put('records', 'gone', '1');
  });
  const agents = [
    await fleet.startAgent('a', { databaseSettings }),
    await fleet.startAgent('b', { databaseSettings }),
  ];
  await Promise.all(agents.map((agent) => agent.ready()));
  await eventually(() => plain('b').records?.gone === '1', { what: 'the state of a in b', agents });

  b.write((txn) => {
    txn.put('domains', '\x02\0\0\0', 'example.net');
    txn.put('domains_0', 'org example', '\x02\0\0\0');
    txn.remove('records', 'gone');
  });
  await eventually(() => Object.keys(plain('a').records ?? {}).length === 0, {
    what: 'the changes of b in a',
    agents,
  });
  const all = {
    domains: { '\x01\0\0\0': 'example.org', '\x02\0\0\0': 'example.net' },
    domains_0: { 'org example': '\x01\0\0\0,\x02\0\0\0' },
    records: {},
  };
  expect(plain('a')).toEqual(all);

  application('c');
  agents.push(await fleet.startAgent('c', { databaseSettings }));
  // Objects are merged one by one.
  await eventually(() => JSON.stringify(plain('c')) === JSON.stringify(all), {
    what: 'the state in c',
    agents,
  });
});

test('what an application changed while its agent was down reaches the others', async () => {
  const a = application('a');
  application('b');
  a.write((txn) => {
    for (const key of ['modify', 'delete', 'keep']) {
      txn.put('records', key, 'first');
    }
  });
  const first = await fleet.startAgent('a', { databaseSettings });
  const other = await fleet.startAgent('b', { databaseSettings });
  await Promise.all([first.ready(), other.ready()]);
  await eventually(() => plain('b').records?.keep === 'first', {
    what: 'the first state in b',
    agents: [first, other],
  });
  expect(await first.stop()).toBe(0);
  a.write((txn) => {
    txn.put('records', 'modify', 'while down');
    txn.put('records', 'add', 'while down');
    txn.remove('records', 'delete');
  });
  const agents = [other, await fleet.startAgent('a', { databaseSettings })];
  const expected = { add: 'while down', keep: 'first', modify: 'while down' };
  await eventually(() => JSON.stringify(plain('b').records) === JSON.stringify(expected), {
    what: 'the changes in b',
    agents,
  });
  expect(plain('a')).toEqual(plain('b'));
});
