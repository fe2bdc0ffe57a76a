import { parseConfig, type ParsedConfig } from '../../../agent/config/config.ts';
import { createLogger } from '../../../agent/log/log.ts';
import { ConfigReload } from '../../../agent/process/reload.ts';
import { KeyReload, type KeyOptions } from '../../../storage/http/key-reload.ts';

const S3 = 'storage: {type: s3, options: {bucket: one, access_key: A, secret_key: S}}';
const CHAIN = 'storage: {type: s3, options: {bucket: one}}';

function parse(text: string): ParsedConfig {
  const yaml = `lmdbs: {main: {path: /a}}\n${text}\n`;
  return parseConfig(yaml, { fileName: 'ls.yaml', processEnv: {}, hostname: 'h' });
}

function started(text: string) {
  let file = text;
  const lines: string[] = [];
  const keys: KeyOptions[] = [];
  const { config } = parse(text);
  const log = createLogger(
    { level: 'info', format: 'logfmt', timestamp: 'disable' },
    { stream: { write: (line: string) => lines.push(line) } },
  );
  const keyReload = new KeyReload();
  keyReload.onReload((options) => keys.push(options));
  const reload = new ConfigReload(config, { load: () => parse(file), log, keys: keyReload });
  return {
    lines,
    keys,
    log,
    checks: () => reload.checks(),
    reloadWith: (next: string) => {
      file = next;
      reload.reload();
    },
  };
}

test('a new log level holds at once', () => {
  const { lines, log, checks, reloadWith } = started(S3);
  reloadWith(`${S3}\nlog: {level: debug, format: logfmt, timestamp: disable}`);
  log.debug({}, 'now shown');
  expect(lines[0]).toContain('level=info');
  expect(lines[0]).toContain('changed="log.level, log.format, log.timestamp"');
  expect(lines[1]).toBe('level=debug msg="now shown"\n');
  expect(checks()).toEqual([]);
});

test('keys are handed on, whether the file changed or only what key files hold', () => {
  const { lines, keys, reloadWith } = started(S3);
  reloadWith(S3);
  reloadWith(S3.replace('secret_key: S', 'secret_key: T'));
  expect(keys.map(({ secretKey }) => secretKey)).toEqual(['S', 'T']);
  expect(lines[1]).toContain('changed=storage.options.secret_key');
  expect(lines.join('')).not.toContain('=T');
});

test('what needs a restart is named in one line and on /healthz, until the file is as before', () => {
  const { lines, checks, reloadWith } = started(S3);
  const other = S3.replace('storage:', 'only_once: true\nstorage:');
  reloadWith(other);
  reloadWith(other);
  expect(lines).toHaveLength(2);
  expect(lines[1]).toContain('level=warning');
  expect(lines[1]).toContain('needs_restart=only_once');
  expect(checks()).toEqual([
    {
      name: 'configuration_reload',
      level: 'warning',
      message: 'the configuration has changes that need a restart: only_once',
    },
  ]);
  reloadWith(S3);
  expect(checks()).toEqual([]);
});

test('keys of another bucket wait for the restart with it', () => {
  const { lines, keys, reloadWith } = started(S3);
  reloadWith(S3.replace('one', 'two').replace('secret_key: S', 'secret_key: T'));
  expect(keys).toEqual([]);
  expect(lines[0]).toContain('needs_restart="storage.options.secret_key, storage.options.bucket"');
});

test('keys where there were none need a restart', () => {
  const { keys, lines, reloadWith } = started(CHAIN);
  reloadWith(S3);
  expect(keys).toEqual([]);
  expect(lines[0]).toContain(
    'needs_restart="storage.options.access_key, storage.options.secret_key"',
  );
});

test.each([
  ['a value that is none', `${S3}\nlog: {level: loud}`, 'log.level'],
  ['a storage without its bucket', S3.replace('bucket: one,', ''), 'bucket'],
])('a file with an error changes nothing and is one line: %s', (_what, text, named) => {
  const { lines, keys, log, checks, reloadWith } = started(S3);
  reloadWith(text);
  log.debug({}, 'still hidden');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toContain('level=error');
  expect(lines[0]).toContain(named);
  expect(keys).toEqual([]);
  expect(checks()[0]).toMatchObject({ name: 'configuration_reload', level: 'warning' });
  reloadWith(S3);
  expect(checks()).toEqual([]);
});
