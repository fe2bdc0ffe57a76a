import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCli } from '../../../../agent/cli/cli.ts';
import { SyncError } from '../../../../protocol/errors.ts';
import { openFilesystemStore } from '../../../../storage/folder/store.ts';
import type { ObjectStore } from '../../../../storage/object-store.ts';
import { TestWriter, entry, names, plain } from '../../../support/compaction.ts';
import { freshState } from '../../../support/readers/fresh-reader.ts';

let folder: string;
let store: ObjectStore;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'compact-'));
  store = await openFilesystemStore({ rootPath: join(folder, 'store') });
  configure('must_keep_interval: 0s');
});
afterEach(async () => {
  await store.close();
  rmSync(folder, { recursive: true });
});

function configure(cleanup: string, more = '') {
  writeFileSync(
    join(folder, 'ls.yaml'),
    `lmdbs:
  main: {path: ${folder}/missing}
  other: {path: ${folder}/missing-too}
storage: {type: fs, options: {root_path: ${folder}/store}, cleanup: {${cleanup}}}
spool_folder: ${folder}/spool
${more}`,
  );
}

async function run(...args: readonly string[]) {
  const ran = { out: '', err: '', error: undefined as SyncError | undefined };
  try {
    await runCli(['compact', ...args, '-c', join(folder, 'ls.yaml')], {
      stdout: { write: (text: string) => (ran.out += text) },
      stderr: { write: (text: string) => (ran.err += text) },
      version: '1.2.3',
      signal: new AbortController().signal,
      // After every lastModified of the objects.
      now: () => Date.now() + 1000,
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

/** Two instances with a snapshot and some deltas. */
async function fill() {
  const a = new TestWriter(store, { instance: 'a', run: 'r1' });
  const b = new TestWriter(store, { instance: 'b', run: 'r2' });
  await a.snapshot([{ name: 'd', entries: [entry('x', '1', 1n), entry('y', '1', 1n)] }]);
  await b.delta([{ name: 'd', entries: [entry('x', '2', 2n)] }]);
  await b.delta([{ name: 'd', entries: [entry('y', undefined, 3n)] }]);
  return plain(await freshState(store));
}

test('folds every database, deletes what the base covers, and says so', async () => {
  const before = await fill();
  const { out, error } = await run();
  expect(error).toBeUndefined();
  const left = await names(store);
  const base = left.find((name) => name.endsWith('.base.pb.gz'));
  expect(left).toEqual(['main__compacted.manifest.json', base]);
  expect(plain(await freshState(store))).toEqual(before);
  const lines = out.split('\n');
  expect(lines[0]).toMatch(/^main: published a base, \d+ B: main__compacted__.*; 2 entries/);
  expect(lines[0]).toContain(base);
  expect(lines[1]).toMatch(/^main: folded 3 of 3 objects \(\d+ B\), deleted 3$/);
  expect(lines.filter((line) => /^main: deleted main__[ab]__/.test(line))).toHaveLength(3);
  expect(out).toContain('other: nothing to fold\n');
  // Temporary files are gone.
  expect(readdirSync(join(folder, 'spool'))).toEqual([]);
});

test('--dry-run prints the same and changes nothing', async () => {
  await fill();
  const before = await names(store);
  const { out } = await run('--dry-run');
  expect(out).toMatch(/^main: would publish a base, \d+ B; 2 entries \(1 deleted\)\n/);
  expect(out).toMatch(/main: would fold 3 of 3 objects \(\d+ B\), would delete 3\n/);
  expect(out).toContain('other: nothing to fold\n');
  expect(await names(store)).toEqual(before);

  configure('must_keep_interval: 1h');
  await run();
  configure('must_keep_interval: 0s');
  const kept = await names(store);
  const again = await run('--dry-run');
  expect(again.out.match(/^main: would delete main__[ab]__/gm)).toHaveLength(3);
  expect(await names(store)).toEqual(kept);
});

test('what is covered stays for must_keep', async () => {
  await fill();
  configure('must_keep_interval: 1h');
  const { out } = await run();
  expect(out).toMatch(/folded 3 of 3 objects \(\d+ B\), deleted 0\n/);
  expect((await names(store)).filter((name) => /__[ab]__/.test(name))).toHaveLength(3);
});

test('where upstream reads, its newest full snapshots stay and the base is copied for it', async () => {
  await fill();
  configure('must_keep_interval: 0s', 'upstream_readers: true\n');
  await run();
  const left = await names(store);
  expect(left.filter((name) => /__a__/.test(name))).toHaveLength(1);
  expect(left.filter((name) => /__compacted__.*S\d+\.pb\.gz/.test(name))).toHaveLength(1);
});

test('--json is one object per database', async () => {
  await fill();
  const { out } = await run('--json');
  const [main, other] = out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
  expect(main).toMatchObject({
    database: 'main',
    outcome: 'published',
    level: 'base',
    listed_objects: 3,
    folded_objects: 3,
    deleted: [expect.any(String), expect.any(String), expect.any(String)],
    failed_deletes: 0,
    base_waits: false,
    largest_left: null,
    left_objects: 0,
    unreadable: [],
  });
  expect(other).toMatchObject({ database: 'other', outcome: 'nothing', written: null });
});

test('--only-db chooses databases, and refuses unknown ones', async () => {
  const { out } = await run('--only-db', 'other');
  expect(out).not.toContain('main:');
  const { error } = await run('--only-db', 'mian');
  expect(error).toMatchObject({ code: 'USAGE', hint: 'Name one of: main, other.' });
});

test('a damaged object stays and is named; the rest is folded', async () => {
  await fill();
  const a = new TestWriter(store, { instance: 'c', run: 'r3' });
  const name = await a.delta([{ name: 'd', entries: [entry('z', '1', 1n)] }]);
  writeFileSync(join(folder, 'store', name), 'damaged');
  const { out, error } = await run();
  expect(error).toBeUndefined();
  expect(out).toContain(`main: cannot read ${name}, it stays: `);
  expect(out).toContain('main: 1 objects are not covered yet');
  expect(await names(store)).toContain(name);
});

test('a database whose manifest is damaged is an error, after the others had their turn', async () => {
  await fill();
  writeFileSync(join(folder, 'store', 'main__compacted.manifest.json'), '{}');
  const { out, error } = await run();
  expect(error).toMatchObject({ code: 'MESSAGE_INVALID' });
  expect(out).toContain('other: nothing to fold');
  expect(await names(store)).toHaveLength(4);
});

test('a storage that cannot be used is the error of the configuration', async () => {
  writeFileSync(
    join(folder, 'ls.yaml'),
    `lmdbs: {main: {path: /x}}\nstorage: {type: s3, options: {region: x}}\n`,
  );
  expect((await run()).error).toMatchObject({ code: 'CONFIG_INVALID' });
});
