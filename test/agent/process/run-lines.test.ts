import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseConfig } from '../../../agent/config/config.ts';
import { createLogger } from '../../../agent/log/log.ts';
import { logStart } from '../../../agent/process/run-lines.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'run-lines-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function startLines(yaml: string): string[] {
  const lines: string[] = [];
  const { config } = parseConfig(yaml, { fileName: 'ls.yaml', processEnv: {}, hostname: 'ns1' });
  const log = createLogger(
    { level: 'info', format: 'logfmt', timestamp: 'disable' },
    { stream: { write: (line: string) => lines.push(line.trimEnd()) } },
  );
  const databases = [...config.lmdbs];
  logStart(log, config, { version: '1.2.3', databases, source: 'poll', receiveOnly: false });
  return lines;
}

test.each([
  [
    'type: s3, options: {bucket: b, access_key: AKIA, secret_key: hidden, global_prefix: dns/, endpoint_url: "https://s3.example:9000"}',
    'bucket=b',
    'endpoint="https://s3.example:9000"',
    'prefix=dns/',
    'storage=s3',
  ],
  [
    'type: azure, options: {container: c, endpoint_url: "https://a.blob.example/?sv=1&sig=hidden"}',
    'container=c',
    'endpoint="https://a.blob.example"',
    'storage=azure',
  ],
  ['type: fs, options: {root_path: /srv/bucket}', 'folder=/srv/bucket', 'storage=fs'],
])('the start says where objects go, without keys: %s', (storage, ...fields) => {
  const [start = ''] = startLines(`lmdbs: {main: {path: /x}}\nstorage: {${storage}}\n`);
  const always = ['version=1.2.3', `node=${process.version}`, 'instance=ns1', 'source=poll'];
  for (const field of [...always, ...fields]) {
    expect(start).toContain(field);
  }
  expect(start).not.toMatch(/AKIA|hidden/);
});

test('the start says of each database its path, schema, size and entries, as far as there are any', () => {
  cpSync(join(__dirname, '../../fixtures/a-native-small/data.mdb'), join(folder, 'data.mdb'));
  writeFileSync(join(folder, 'damaged'), 'no LMDB');
  const lines = startLines(`lmdbs:
  main: {path: ${folder}, schema_tracks_changes: true}
  bad: {path: ${folder}/damaged, options: {no_subdir: true}}
  none: {path: ${folder}/none}
storage: {type: memory}
`);
  expect(lines.slice(1)).toEqual([
    expect.stringMatching(/ db=main entries=\d+ path=\S+ schema=native size=\d+$/),
    expect.stringMatching(/ db=bad path=\S+ schema=shadow size=7$/),
    expect.stringMatching(/ db=none path=\S+ schema=shadow size="no file yet"$/),
  ]);
});
