import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { runCli } from '../../../../agent/cli/cli.ts';
import { SyncError } from '../../../../protocol/errors.ts';

const FIXTURE = join(__dirname, '../../../fixtures/a-native-small');
const NOW_MS = Date.UTC(2026, 10, 24);

let folder: string;
let snapshot: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'commands-'));
  mkdirSync(join(folder, 'store'));
  mkdirSync(join(folder, 'lmdb'));
  cpSync(join(FIXTURE, 'data.mdb'), join(folder, 'lmdb', 'data.mdb'));
  const [name = ''] = readdirSync(join(FIXTURE, 'snapshots'));
  snapshot = name;
  cpSync(join(FIXTURE, 'snapshots', name), join(folder, 'store', name));
  writeFileSync(
    join(folder, 'ls.yaml'),
    `lmdbs:
  main: {path: ${folder}/lmdb}
  other: {path: ${folder}/missing}
storage: {type: fs, options: {root_path: ${folder}/store}}
`,
  );
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

async function run(...args: readonly string[]) {
  const ran = { out: '', err: '', error: undefined as SyncError | undefined };
  try {
    await runCli([...args, '-c', join(folder, 'ls.yaml')], {
      stdout: { write: (text: string) => (ran.out += text) },
      stderr: { write: (text: string) => (ran.err += text) },
      version: '1.2.3',
      signal: new AbortController().signal,
      now: () => NOW_MS,
      pid: 4711,
      runAgent: () => Promise.reject(new Error('not here')),
    });
  } catch (error) {
    if (!(error instanceof SyncError)) {
      throw error;
    }
    ran.error = error;
  }
  return ran;
}

const storePath = (name: string) => join(folder, 'store', name);
const OTHER = 'main__b__20200101-000000-000000000__GX.pb.gz';

test('snapshots put says that a file is missing before it looks at the name', async () => {
  const { error } = await run('snapshots', 'put', join(folder, 'nosuch'));
  expect(error?.message).toBe(`cannot read ${folder}/nosuch: there is no such file`);
  expect(error?.hint).toBe('Name a file that this user may read.');
});

describe('snapshots list', () => {
  beforeEach(() => {
    writeFileSync(storePath(OTHER), '12345');
    writeFileSync(storePath('zzz'), '');
  });

  test('prints names by name', async () => {
    expect((await run('snapshots', 'list')).out).toBe(`${OTHER}\n${snapshot}\nzzz\n`);
  });

  test('--time sorts by time, names that do not parse first', async () => {
    expect((await run('snapshots', 'list', '-t')).out).toBe(`zzz\n${OTHER}\n${snapshot}\n`);
  });

  test('--long shows sizes', async () => {
    expect((await run('snapshots', 'list', '-l', '--prefix', 'main__b')).out).toBe(
      `           5\t${OTHER}\n`,
    );
  });

  test('--json is one object per line', async () => {
    const { out } = await run('snapshots', 'list', '--json', '-p', 'main__b');
    expect(JSON.parse(out)).toMatchObject({
      name: OTHER,
      size: 5,
      kind: 'snapshot',
      database: 'main',
      instance: 'b',
      time_ns: '1577836800000000000',
    });
  });
});

describe('snapshots get', () => {
  test('writes the object byte for byte', async () => {
    const output = join(folder, 'out.bin');
    expect((await run('snapshots', 'get', snapshot, '-o', output)).error).toBeUndefined();
    expect(readFileSync(output)).toEqual(readFileSync(storePath(snapshot)));
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  test('a missing name is an error', async () => {
    const { error } = await run('snapshots', 'get', 'nothing', '-o', join(folder, 'x'));
    expect(error?.message).toBe('the storage has no object nothing');
    expect(readdirSync(folder)).not.toContain('x');
  });

  test('a place that cannot be written is an error', async () => {
    const { error } = await run('snapshots', 'get', snapshot, '-o', join(folder, 'no/such/x'));
    expect(error?.message).toContain('cannot write');
  });
});

describe('snapshots put', () => {
  test('stores under the name of the file, or another one', async () => {
    const file = join(folder, OTHER);
    writeFileSync(file, 'bytes');
    expect((await run('snapshots', 'put', file)).error).toBeUndefined();
    expect(readFileSync(storePath(OTHER), 'utf8')).toBe('bytes');
    const renamed = OTHER.replace('__b__', '__c__');
    expect((await run('snapshots', 'put', file, '--name', renamed)).error).toBeUndefined();
    expect(readFileSync(storePath(renamed), 'utf8')).toBe('bytes');
  });

  test('refuses a name that does not parse, unless forced', async () => {
    const file = join(folder, 'foo');
    writeFileSync(file, 'bytes');
    const refused = await run('snapshots', 'put', file);
    expect(refused.error).toMatchObject({ code: 'OBJECT_NAME_INVALID' });
    expect(refused.error?.hint).toContain('--force');
    const forced = await run('snapshots', 'put', file, '--force');
    expect(forced.error).toBeUndefined();
    expect(forced.err).toContain('Invalid snapshot name forced');
    expect(readFileSync(storePath('foo'), 'utf8')).toBe('bytes');
  });

  test.each(['missing.pb.gz', 'lmdb'])('%s cannot be read', async (name) => {
    const { error } = await run('snapshots', 'put', join(folder, name), '-n', OTHER);
    expect(error?.message).toContain('cannot read');
  });
});

test('snapshots remove deletes, also what is not there', async () => {
  expect((await run('snapshots', 'remove', snapshot)).error).toBeUndefined();
  expect(readdirSync(join(folder, 'store'))).not.toContain(snapshot);
  expect((await run('snapshots', 'remove', snapshot)).error).toBeUndefined();
});

describe('snapshots dump', () => {
  test('prints head, DBIs and entries as upstream does', async () => {
    const { out, error } = await run('snapshots', 'dump', snapshot);
    expect(error).toBeUndefined();
    const head = JSON.parse(out.slice(0, out.indexOf('\n\n###'))) as Record<string, unknown>;
    expect(head).toMatchObject({
      FormatVersion: 3,
      CompatVersion: 1,
      Meta: { GenerationID: 'GX', Hostname: 'fixture-host', DatabaseName: 'main' },
    });
    expect(out).toContain('\n### records (transform="", flags="")\n\n');
    expect(out).toMatch(
      /^alpha \[61 6c 70 68 61\] {2}= {2}hello world {2}\(2023-11-14 22:13:20\.12345679 \+0000 UTC, \d+h\d+m\d+s ago; flags=00\)$/m,
    );
    expect(out).toMatch(/^gamma-deleted .*flags=01\)$/m);
  });

  test('of a local file, one DBI only', async () => {
    const file = join(FIXTURE, 'snapshots', basename(snapshot));
    const { out } = await run('snapshots', 'dump', '--local', file, '--dbi', 'empty-dbi');
    expect(out).toContain('### empty-dbi ');
    expect(out).not.toContain('### records');
    expect(out).not.toContain('alpha');
  });

  test.each([
    [['nothing'], 'the storage has no object nothing'],
    [['--local', '/nothing'], 'cannot read /nothing'],
    [['x', '--format', 'xml'], 'output format not supported: xml'],
  ])('%j is an error', async (args, message) => {
    expect((await run('snapshots', 'dump', ...args)).error?.message).toContain(message);
  });

  test.each([[[]], [['--json']]])('a DBI that it has not is an error, with %j', async (flags) => {
    const { error } = await run('snapshots', 'dump', snapshot, '--dbi', 'recrods', ...flags);
    expect(error).toMatchObject({
      code: 'USAGE',
      message: `no DBI "recrods" in ${snapshot}`,
      hint: expect.stringMatching(/^Name one of: .*\brecords\b/),
    });
  });

  test('of a damaged object says so', async () => {
    writeFileSync(storePath(OTHER), 'not gzip');
    expect((await run('snapshots', 'dump', OTHER)).error?.code).toBe('SNAPSHOT_CORRUPT');
  });
});

describe('stats and dump', () => {
  test('stats has one line per environment, DBI and sum', async () => {
    const { out } = await run('stats');
    expect(out).toMatch(
      /^main: Env info: \{MapSize:\d+ LastPNO:\d+ LastTxnID:\d+ MaxReaders:126 NumReaders:\d+\}$/m,
    );
    expect(out).toMatch(
      /^main: dbi records: \{PSize:4096 Depth:\d BranchPages:\d+ LeafPages:\d+ OverflowPages:\d+ Entries:\d+\} \(\d+\.\d KB\)$/m,
    );
    expect(out).toMatch(/^main: Total Used: \d+\.\d KB \/ \d+\.\d MB \(~ \d+\.\d %\)$/m);
  });

  test('stats --json', async () => {
    const { out } = await run('stats', '--json');
    expect(JSON.parse(out)).toMatchObject({ name: 'main', page_size: 4096, max_readers: 126 });
  });

  test('dump prints every entry under its DBI', async () => {
    const { out } = await run('dump');
    expect(out).toContain('\n### main :: records\n\n');
    expect(out).toMatch(
      /^alpha \[61 6c 70 68 61\] {2}= {2}.*hello world \[.*\] \(2023-11-14T22:13:20\.1234\d+Z\)$/m,
    );
    expect(out).toContain(':: _sync');
  });

  test('dump --json gives one object per entry, with the stored bytes', async () => {
    const { out } = await run('dump', '--json', '--hide');
    const lines = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, string>);
    const entry = lines.find(({ key }) => key === Buffer.from('alpha').toString('hex'));
    expect(entry).toMatchObject({ database: 'main', dbi: 'records' });
    expect(
      Buffer.from(entry?.['value'] ?? '', 'hex')
        .subarray(24)
        .toString(),
    ).toBe('hello world');
    expect(lines.filter(({ dbi }) => dbi?.startsWith('_sync'))).toEqual([]);
  });

  test('dump --hide leaves out private DBIs, --name other databases', async () => {
    const { out, err } = await run('dump', '-H', '-n', 'main');
    expect(out).toContain(':: records');
    expect(out).not.toContain(':: _sync');
    expect(err).toBe('');
  });

  test.each([
    ['dump', '-n', 'mian'],
    ['dump', '--json', '--name', 'mian'],
    ['experimental', 'migrate-timestamps', '-d', 'mian', '--src-dbi', 'a', '--dst-dbi', 'b'],
    ['experimental', 'pdns-v5-fix-duplicate-domains', '-d', 'mian'],
  ])('a database that is not configured is refused: %s %s %s', async (...args) => {
    const { error, out } = await run(...args);
    expect(error).toMatchObject({
      code: 'USAGE',
      message: 'no database "mian" in the configuration',
      hint: 'Name one of: main, other.',
    });
    expect(out).toBe('');
  });

  test.each(['stats', 'dump'])(
    '%s logs a database that cannot be read, goes on, and fails in the end',
    async (command) => {
      const { out, err, error } = await run(command);
      expect(error?.message).toBe(`there is no LMDB at ${folder}/missing/data.mdb`);
      expect(out).toContain('main');
      expect(err).toContain('cannot read the LMDB');
      expect(err).toContain('db=other');
      expect(readdirSync(folder)).not.toContain('missing');
    },
  );
});
