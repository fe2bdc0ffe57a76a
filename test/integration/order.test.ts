import { execFile } from 'node:child_process';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { open, type RootDatabase } from 'lmdb';
import { eventually, Fleet } from '../support/hosts.ts';
import { swapAt } from '../support/lmdb-writer/disorder.ts';

const BUNDLE = join(__dirname, '../../dist/lightningstream.cjs');

let fleet: Fleet;
beforeEach(async () => {
  fleet = await Fleet.open();
});
afterEach(() => fleet.close());

/** An application that keeps its data in the main database, as BIND and Postfix do. */
function openPlain(file: string): RootDatabase<Buffer, Buffer> {
  return open<Buffer, Buffer>({
    path: file,
    noSubdir: true,
    keyEncoding: 'binary',
    encoding: 'binary',
    overlappingSync: false,
    noSync: true,
    cache: false,
    maxDbs: 8,
  } as never);
}

async function plainLmdb(host: string, dbis: readonly string[] = []): Promise<string> {
  const file = fleet.lmdbFile(host);
  const root = openPlain(file);
  for (let i = 0; i < 100; i += 1) {
    root.putSync(Buffer.from(`user${i}@example.net`), Buffer.from(`mailbox-${i}`));
  }
  for (const name of dbis) {
    root
      .openDB({ name, keyEncoding: 'binary', encoding: 'binary' })
      .putSync(Buffer.from('k'), Buffer.from('v'));
  }
  await root.close();
  return file;
}

/** Runs a command on one LMDB. */
function run(file: string, ...args: readonly string[]): Promise<{ code: number; text: string }> {
  const config = join(fleet.folder, 'command.yaml');
  writeFileSync(
    config,
    `instance: a
lmdbs: {main: {path: ${file}, schema_tracks_changes: true, options: {no_subdir: true}}}
storage: {type: fs, options: {root_path: ${fleet.bucket}}}
`,
  );
  return new Promise((resolve) => {
    execFile(process.execPath, [BUNDLE, '--config', config, ...args], (error, out, err) =>
      resolve({ code: Number(error?.code ?? 0), text: out + err }),
    );
  });
}

test('an LMDB with data in its main database: no command writes a byte into it, those that read do', async () => {
  const file = await plainLmdb('plain');
  const before = readFileSync(file);
  const files = () => readdirSync(fleet.folder).filter((name) => name.includes('plain'));
  const filesBefore = files();
  for (const args of [
    ['sync', '--only-once'],
    ['receive', '--only-once'],
    ['drop-shadow'],
    [
      'experimental',
      'migrate-timestamps',
      '--database',
      'main',
      '--src-dbi',
      'a',
      '--dst-dbi',
      'b',
    ],
  ]) {
    const { code, text } = await run(file, ...args);
    expect(code).toBe(1);
    expect(text).toContain(
      'holds the application\'s own entries, the first is "user0@example.net": nothing may be written into it',
    );
  }
  for (const command of ['stats', 'dump']) {
    expect((await run(file, command)).code).toBe(0);
  }
  expect(readFileSync(file).equals(before)).toBe(true);
  expect(files()).toEqual(filesBefore);
});

test('what an earlier version has written into such a main database is removed by drop-shadow, and nothing else', async () => {
  const file = await plainLmdb('plain', ['_sync_state']);
  expect((await run(file, 'sync', '--only-once')).text).toContain('"drop-shadow" removes');
  expect((await run(file, 'drop-shadow')).code).toBe(0);
  const root = openPlain(file);
  expect([...root.getKeys()].map(String)).toHaveLength(100);
  expect(root.get(Buffer.from('_sync_state') as never)).toBeUndefined();
  await root.close();
});

test('entries that appear in the main database are on /healthz until they are gone; the agent goes on', async () => {
  const application = fleet.application('a');
  application.write([{ key: 'one', value: '1' }]);
  const agent = await fleet.startAgent('a');
  await agent.ready();
  const plain = openPlain(fleet.lmdbFile('a'));
  plain.putSync(Buffer.from('user1'), Buffer.from('x'));
  application.write([{ key: 'two', value: '2' }]);
  await checkIs(agent, 'main_unnamed_data', /the first is "user1": nothing is written/);
  plain.removeSync(Buffer.from('user1'));
  await checkIs(agent, 'main_unnamed_data', /^$/);
  await plain.close();
});

test('a DBI that gets damaged is named on /healthz and left alone on both sides; another one goes on', async () => {
  const a = fleet.application('a');
  const b = fleet.application('b');
  const agents = [await fleet.startAgent('a'), await fleet.startAgent('b')];
  await Promise.all(agents.map((agent) => agent.ready()));
  const [agentA, agentB] = agents as [(typeof agents)[0], (typeof agents)[0]];
  const keys = Array.from({ length: 200 }, (_, i) => `k${String(i).padStart(3, '0')}`);
  a.write(
    keys.map((key) => ({ key, value: 'old' })),
    { dbi: 'records_v5' },
  );
  await eventually(() => b.read('k199', 'records_v5') !== undefined, { what: 'all in b', agents });
  // What is swapped before the agent looks again belongs to the transaction before.
  await agentA.stop();
  swapAt(fleet.lmdbFile('a'), 'records_v5', 'k050');
  const again = await fleet.startAgent('a');
  await again.ready();
  await checkIs(
    again,
    'main_dbi_out_of_order',
    /^keys of records_v5 are out of order: stop both, move the LMDB away, start: it is filled from the bucket$/,
  );
  b.write([{ key: 'k100', value: 'new' }], { dbi: 'records_v5' });
  b.write([{ key: 'x', value: 'other' }], { dbi: 'other' });
  await eventually(() => a.read('x', 'other') !== undefined, { what: 'other', agents: [again] });
  expect(a.read('k100', 'records_v5')?.value).toBe('old');
  const { warnings } = (await agentB.health()) as { warnings: object };
  expect(warnings).toEqual({});
  expect((await again.metrics()).get('lightningstream_refused_dbis')).toBe(1);
});

async function checkIs(
  agent: { health(): Promise<Record<string, unknown>> },
  name: string,
  text: RegExp,
): Promise<void> {
  await eventually(
    async () => {
      const { warnings, failures } = (await agent.health()) as Record<string, object>;
      const found = ({ ...warnings, ...failures } as Record<string, string>)[name] ?? '';
      return text.test(found);
    },
    { what: `${name} ${text.source}`, agents: [] },
  );
}
