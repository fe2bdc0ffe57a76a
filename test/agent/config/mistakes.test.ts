import fs from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseConfig } from '../../../agent/config/config.ts';
import { SyncError } from '../../../protocol/errors.ts';

const MINIMAL = 'lmdbs: {main: {path: /db}}\n';

function parse(text: string) {
  return parseConfig(text, { fileName: 'ls.yaml', processEnv: {}, hostname: 'host' });
}

function failure(text: string): SyncError {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof SyncError) {
      return error;
    }
    throw error;
  }
  throw new Error('was accepted');
}

test('a tab in the indentation is one error, with its line and what to do', () => {
  const error = failure('lmdbs:\n\tmain:\n\t\tpath: /db\nstorage:\n\ttype: fs\n');
  expect(error.message).toBe('ls.yaml:2: a tab cannot indent a line of YAML');
  expect(error.hint).toBe('Replace the tab with spaces.');
});

test('of a text that is no YAML only the first error is told', () => {
  const { message } = failure('lmdbs: {main: {path: /db}\nstorage: [a\nlog: {level: wrong}\n');
  expect(message).toMatch(/^ls\.yaml:\d+: .+$/);
});

test('a missing path is told with an example', () => {
  expect(failure('lmdbs: {main: {}}').hint).toContain('path: /var/lib/powerdns/pdns.lmdb');
});

test.each([
  ['S3', 's3'],
  ['azur', 'azure'],
])('storage type %s: the one that was meant is named', (written, meant) => {
  const { message, hint } = failure(`${MINIMAL}storage: {type: ${written}}`);
  expect(message).toContain('must be one of fs, s3, azure, memory');
  expect(hint).toBe(`Did you mean \`${meant}\`?`);
});

describe('two names for one LMDB', () => {
  let folder: string;

  beforeEach(() => {
    folder = fs.mkdtempSync(path.join(tmpdir(), 'ls-paths-'));
    fs.mkdirSync(path.join(folder, 'real'));
    fs.symlinkSync('real', path.join(folder, 'link'));
  });

  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  test.each([
    ['the same path', 'real/pdns.lmdb', 'real/pdns.lmdb'],
    ['another spelling', 'real/pdns.lmdb', 'real/../real//pdns.lmdb'],
    ['a folder by its link', 'real/pdns.lmdb', 'link/pdns.lmdb'],
  ])('are refused: %s', (_case, first, second) => {
    const { message, hint } = failure(
      `lmdbs:\n  main: {path: ${folder}/${first}, options: {no_subdir: true}}\n  shard: {path: ${folder}/${second}, options: {no_subdir: true}}\n`,
    );
    expect(message).toBe(
      `ls.yaml:3: \`lmdbs.main\` and \`lmdbs.shard\` have the same path: ${fs.realpathSync(folder)}/real/pdns.lmdb`,
    );
    expect(hint).toContain('a path of its own');
  });

  test('a link to the file itself is followed, and data.mdb is the file of a folder', () => {
    fs.writeFileSync(path.join(folder, 'real', 'data.mdb'), '');
    fs.symlinkSync('real/data.mdb', path.join(folder, 'file'));
    const { message } = failure(
      `lmdbs: {a: {path: ${folder}/link}, b: {path: ${folder}/file, options: {no_subdir: true}}}`,
    );
    expect(message).toContain('`lmdbs.a` and `lmdbs.b` have the same path');
  });

  test('two files of one folder are two LMDBs', () => {
    const { config } = parse(
      `lmdbs: {a: {path: ${folder}/real/pdns.lmdb, options: {no_subdir: true}}, b: {path: ${folder}/real/pdns.lmdb-0, options: {no_subdir: true}}}`,
    );
    expect([...config.lmdbs.keys()]).toEqual(['a', 'b']);
  });
});
