import { changedKeys } from '../../../agent/config/changed-keys.ts';
import { parseConfig } from '../../../agent/config/config.ts';

function parse(text: string) {
  return parseConfig(text, { fileName: 'ls.yaml', processEnv: {}, hostname: 'h' }).config;
}

const BASE = `lmdbs:
  main: {path: /a, options: {no_subdir: true}}
  shard: {path: /b}
log: {level: info}
storage: {type: s3, options: {bucket: one, access_key: A, secret_key: S}}
`;

test.each([
  ['nothing', 'level: info', 'level: info', []],
  ['a default that is written out', 'log: {level: info}', '', []],
  ['a value', 'level: info', 'level: debug', ['log.level']],
  ['a value of a database', 'path: /b', 'path: /c', ['lmdbs.shard.path']],
  [
    'an option of a database',
    'no_subdir: true',
    'no_subdir: false',
    ['lmdbs.main.options.no_subdir'],
  ],
  ['a database', '  shard: {path: /b}\n', '', ['lmdbs.shard']],
  ['a secret', 'secret_key: S', 'secret_key: T', ['storage.options.secret_key']],
  [
    'the storage',
    'type: s3, options: {bucket: one, access_key: A, secret_key: S}',
    'type: memory',
    ['storage.type', 'storage.options'],
  ],
  ['options that became unusable', 'bucket: one,', '', ['storage.options']],
])('the keys that differ are named: %s', (_what, from, to, keys) => {
  expect(BASE).toContain(from);
  expect(changedKeys(parse(BASE), parse(BASE.replace(from, to)))).toEqual(keys);
});
