import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { open } from 'lmdb';
import { parseValueHeader, VALUE_HEADER_BYTES } from '../../protocol/value-header.ts';

const BUNDLE = join(__dirname, '../../dist/lightningstream.cjs');
const FIXTURES = join(__dirname, '../fixtures');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'experimental-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

type Ran = { code: number; out: string; err: string };

/** Runs the bundle on the databases of the folder; `native`: the application writes headers. */
async function run(native: boolean, ...args: readonly string[]): Promise<Ran> {
  const database = (file: string) =>
    `{path: ${file}, schema_tracks_changes: ${native}, dupsort_hack: ${!native && file === 'pdns.lmdb'}, options: {no_subdir: true}}`;
  writeFileSync(
    join(folder, 'lightningstream.yaml'),
    `instance: a
lmdbs: {main: ${database('pdns.lmdb')}, shard: ${database('pdns.lmdb-0')}}
storage: {type: fs, options: {root_path: store-${native}}}
`,
  );
  return new Promise((resolve) => {
    execFile(process.execPath, [BUNDLE, ...args], { cwd: folder }, (error, out, err) => {
      resolve({ code: Number(error?.code ?? 0), out, err });
    });
  });
}

function copyFixture(name: string): void {
  for (const file of ['pdns.lmdb', 'pdns.lmdb-0']) {
    cpSync(join(FIXTURES, name, 'lmdb', file), join(folder, file));
  }
}

type Dbi = Map<string, Buffer>;

/** Works on an LMDB as another program does, while none of ours runs. */
async function withLmdb<T>(file: string, work: (dbi: (name: string) => LmdbDbi) => T): Promise<T> {
  const root = open({
    path: join(folder, file),
    noSubdir: true,
    maxDbs: 64,
    keyEncoding: 'binary',
    encoding: 'binary',
    overlappingSync: false,
  });
  try {
    return root.transactionSync(() =>
      work((name) => root.openDB({ name, keyEncoding: 'binary', encoding: 'binary' }) as LmdbDbi),
    );
  } finally {
    await root.close();
  }
}

type LmdbDbi = {
  putSync(key: Buffer, value: Buffer): unknown;
  removeSync(key: Buffer): boolean;
  getRange(): Iterable<{ key: Buffer; value: Buffer }>;
};

const entriesOf = (file: string, name: string): Promise<Dbi> =>
  withLmdb(
    file,
    (dbi) =>
      new Map(
        Array.from(dbi(name).getRange(), ({ key, value }) => [
          key.toString('hex'),
          Buffer.from(value),
        ]),
      ),
  );

async function dbiNames(native: boolean): Promise<string[]> {
  const { out } = await run(native, 'stats', '--json');
  return out
    .trim()
    .split('\n')
    .flatMap((line) => (JSON.parse(line) as { dbis: { name: string }[] }).dbis)
    .map(({ name }) => name);
}

const bytesOf = (file: string) => readFileSync(join(folder, file));

describe('from PowerDNS 4.7 to 4.8, as documented', () => {
  /** What PowerDNS 4.8 does at its first start: every record gets a header of zeros. */
  async function upgrade(): Promise<void> {
    await withLmdb('pdns.lmdb-0', (dbi) => {
      const records = Array.from(dbi('records').getRange());
      for (const { key, value } of records) {
        dbi('records_v5').putSync(key, Buffer.concat([Buffer.alloc(VALUE_HEADER_BYTES), value]));
      }
    });
  }

  test('migrate-timestamps gives the records the times of the shadow, and tombstones; then drop-shadow', async () => {
    copyFixture('d2-powerdns47-shadow');
    expect((await run(false, 'sync', '--only-once')).code).toBe(0);
    const [gone = ''] = (await entriesOf('pdns.lmdb-0', 'records')).keys();
    await withLmdb('pdns.lmdb-0', (dbi) => dbi('records').removeSync(Buffer.from(gone, 'hex')));
    expect((await run(false, 'sync', '--only-once')).code).toBe(0);
    await upgrade();
    const before = await entriesOf('pdns.lmdb-0', 'records_v5');
    const shadow = await entriesOf('pdns.lmdb-0', '_sync_shadow_records');

    const flags = ['--database', 'shard', '--dst-dbi', 'records_v5', '--add-delete-entries'];
    const migrate = ['experimental', 'migrate-timestamps', ...flags];
    const ran = await run(true, ...migrate, '--src-dbi', '_sync_shadow_records');
    expect(ran.code).toBe(0);
    expect(ran.err).toContain(`n_added_deletes=1 n_updated=${before.size}`);

    const after = await entriesOf('pdns.lmdb-0', 'records_v5');
    expect(after.size).toBe(before.size + 1);
    expect(after.size).toBe(shadow.size);
    for (const [key, value] of after) {
      const header = parseValueHeader(value);
      const original = parseValueHeader(shadow.get(key) as Buffer);
      expect(header.timestampNs).toBe(original.timestampNs);
      expect(header.flags).toBe(key === gone ? 1 : 0);
      expect(value.subarray(24)).toEqual(before.get(key)?.subarray(24) ?? Buffer.alloc(0));
      expect(header.txnId).toBeGreaterThan(0n);
    }

    expect((await run(true, 'drop-shadow')).code).toBe(0);
    const names = await dbiNames(true);
    expect(names.filter((name) => name.startsWith('_sync'))).toEqual([]);
    expect(names).toContain('records_v5');
    expect(await entriesOf('pdns.lmdb-0', 'records_v5')).toEqual(after);
  });

  test('a value that is too short aborts it, and nothing is changed', async () => {
    copyFixture('d2-powerdns47-shadow');
    await run(false, 'sync', '--only-once');
    await upgrade();
    const long = Buffer.alloc(200, 0xff);
    await withLmdb('pdns.lmdb-0', (dbi) => dbi('records_v5').putSync(long, Buffer.alloc(23)));
    const before = await entriesOf('pdns.lmdb-0', 'records_v5');
    const flags = ['-d', 'shard', '--src-dbi', '_sync_shadow_records', '--dst-dbi', 'records_v5'];
    const { code, err } = await run(true, 'experimental', 'migrate-timestamps', ...flags);
    expect(code).toBe(1);
    expect(err).toContain('a value of 23 bytes has no header');
    expect(await entriesOf('pdns.lmdb-0', 'records_v5')).toEqual(before);
  });

  test.each([
    [['--src-dbi', 'nope', '--dst-dbi', 'records'], 1, 'there is no DBI nope'],
    [['--src-dbi', 'records', '--dst-dbi', 'nope'], 1, 'there is no DBI nope'],
    [['--src-dbi', 'records', '--dst-dbi', 'records'], 1, 'cannot be the same'],
    [
      ['--src-dbi', 'nope', '--dst-dbi', 'records', '--ignore-src-dbi-not-present'],
      0,
      'no migration performed',
    ],
    [['--src-dbi', 'records'], 1, "required option '--dst-dbi <dbi>' not specified"],
  ])('%j', async (flags, expected, text) => {
    copyFixture('d2-powerdns47-shadow');
    const before = bytesOf('pdns.lmdb-0');
    const ran = await run(true, 'experimental', 'migrate-timestamps', '-d', 'shard', ...flags);
    expect(ran).toMatchObject({ code: expected });
    expect(ran.err).toContain(text);
    expect(bytesOf('pdns.lmdb-0')).toEqual(before);
  });
});

describe('after drop-shadow the next start is safe', () => {
  test('nothing is lost or brought back, and all is sent again', async () => {
    copyFixture('d2-powerdns47-shadow');
    await run(false, 'sync', '--only-once');
    const records = await entriesOf('pdns.lmdb-0', 'records');
    expect(records.size).toBeGreaterThan(5);
    expect((await run(false, 'drop-shadow')).code).toBe(0);
    expect((await dbiNames(false)).filter((name) => name.startsWith('_sync'))).toEqual([]);
    expect((await run(false, 'sync', '--only-once')).code).toBe(0);
    expect(await entriesOf('pdns.lmdb-0', 'records')).toEqual(records);
    expect(await dbiNames(false)).toContain('_sync_shadow_records');
  });
});

describe('pdns-v5-fix-duplicate-domains', () => {
  const command = ['experimental', 'pdns-v5-fix-duplicate-domains', '-d', 'main'];

  /** What a second server makes of a domain that it creates at the same time: another id, later. */
  async function duplicate(): Promise<{ original: string; twin: string; twinId: number }> {
    return withLmdb('pdns.lmdb', (dbi) => {
      const [entry] = Array.from(dbi('domains_v5_0').getRange());
      if (entry === undefined) {
        throw new Error('the fixture has no domain');
      }
      const original = entry.key.toString('hex');
      const twin = Buffer.from(entry.key);
      twin.writeUInt32BE(7, twin.length - 4);
      const header = Buffer.from(entry.value);
      header.writeBigUInt64BE(header.readBigUInt64BE(0) + 1_000_000_000n, 0);
      dbi('domains_v5_0').putSync(twin, header);
      return { original, twin: twin.toString('hex'), twinId: 7 };
    });
  }

  test('reports only, unless told to rename', async () => {
    copyFixture('b-powerdns-native');
    await duplicate();
    const before = await entriesOf('pdns.lmdb', 'domains_v5_0');
    const ran = await run(true, ...command);
    expect(ran.code).toBe(0);
    expect(ran.err).toMatch(/Duplicate domain entry.*domain=example\.org.*renaming_newest_id=7/);
    expect(await entriesOf('pdns.lmdb', 'domains_v5_0')).toEqual(before);
  });

  test('the newer one gets a tombstone and another name, whichever comes first by key', async () => {
    copyFixture('b-powerdns-native');
    const { original, twin, twinId } = await duplicate();
    const before = await entriesOf('pdns.lmdb', 'domains_v5_0');
    const ran = await run(true, ...command, '--dangerous-do-rename');
    expect(ran.code).toBe(0);
    expect(ran.out).toContain(`- example.org.dup-${twinId}.invalid\n`);
    const after = await entriesOf('pdns.lmdb', 'domains_v5_0');
    expect(after.size).toBe(before.size + 1);
    expect(after.get(original)).toEqual(before.get(original));
    expect(parseValueHeader(after.get(twin) as Buffer).flags).toBe(1);
    const added = [...after.keys()].filter((key) => !before.has(key));
    const name = Buffer.from(`invalid\0dup-${twinId}\0org\0example\0`, 'latin1');
    expect(added.map((key) => Buffer.from(key, 'hex').subarray(2, -4))).toEqual([name]);
    expect(Buffer.from(added[0] ?? '', 'hex').readUInt16BE(0)).toBe(name.length);
    const again = await run(true, ...command);
    expect(again.err).not.toContain('Duplicate domain entry');
    expect(again.out).toContain(`- example.org.dup-${twinId}.invalid\n`);
  });

  test.each([
    ['d2-powerdns47-shadow', 'main', 'schemaversion is older, this command is for schema 5'],
    ['b-powerdns-native', 'shard', 'this is not the main database of PowerDNS'],
    ['b-powerdns-native', 'other', 'no database "other"'],
  ])('refuses %s, database %s', async (fixture, database, text) => {
    copyFixture(fixture);
    const ran = await run(true, ...command.slice(0, 2), '-d', database, '--dangerous-do-rename');
    expect(ran.code).toBe(1);
    expect(ran.err).toContain(text);
  });
});
