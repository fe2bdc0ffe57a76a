import { parseConfig, requireStorageOptions } from '../../../agent/config/config.ts';
import { formatEffectiveConfig } from '../../../agent/config/effective.ts';
import { expandVariables } from '../../../agent/config/expand.ts';
import { SyncError } from '../../../protocol/errors.ts';

const MINIMAL = 'lmdbs: {main: {path: /db}}\n';

function parse(text: string, processEnv: Record<string, string> = {}, instance = '') {
  return parseConfig(text, {
    fileName: 'ls.yaml',
    processEnv,
    hostname: 'host.example.org',
    overrides: { instance },
  });
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

/** The configuration with one more line, and the value at a path of properties. */
function valueOf(yaml: string, path: string): unknown {
  let value: unknown = parse(`${MINIMAL}${yaml}\n`).config;
  for (const property of path.split('.')) {
    value = (value as Record<string, unknown>)[property];
  }
  return value;
}

test("every default is upstream's, or ours as documented", () => {
  const { config, warnings } = parse(MINIMAL);
  expect(warnings).toEqual([]);
  const { lmdbs, storage, ...rest } = config;
  expect([...lmdbs]).toEqual([
    [
      'main',
      {
        path: '/db',
        options: {
          noSubdir: false,
          create: false,
          dirMask: 0o775,
          fileMask: 0o664,
          mapSizeBytes: 0,
          maxDbs: 64,
        },
        schemaTracksChanges: false,
        dupsortHack: false,
        headerExtraPaddingBlock: false,
        dbiOptions: new Map(),
      },
    ],
  ]);
  expect(storage.cleanup).toEqual({
    enabled: false,
    intervalMs: 300_000,
    mustKeepIntervalMs: 600_000,
    removeOldInstancesIntervalMs: 604_800_000,
  });
  const tracker = { intervalMs: 5000, warnDurationMs: 60_000, errorDurationMs: 300_000 };
  expect(rest).toEqual({
    instance: 'host-example-org',
    onlyOnce: false,
    lmdbPollIntervalMs: 1000,
    lmdbLogStatsIntervalMs: 1_800_000,
    lmdbScrapeSmaps: true,
    storagePollIntervalMs: 1000,
    storageRetryIntervalMs: 5000,
    storageRetryCount: 100,
    storageRetryForever: false,
    storageForceSnapshotIntervalMs: 14_400_000,
    storageSafetyListIntervalMs: 300_000,
    uploadMinIntervalMs: 1000,
    uploadBurst: 20,
    maxLockHoldMs: 250,
    maxClockSkewMs: 60_000,
    fullSnapshotMaxDeltas: 1000,
    fullSnapshotMaxDeltaFraction: 0.5,
    upstreamReaders: false,
    upstreamSnapshotMinIntervalMs: 10_000,
    memoryDownloadedSnapshots: 2,
    memoryDecompressedSnapshots: 3,
    memorySpoolBytes: 16 * 1024 * 1024,
    spoolFolder: '',
    shutdownTimeoutMs: 10_000,
    afterMerge: new Map(),
    notices: {
      type: 'auto',
      queueUrl: '',
      queuePrefix: '',
      createQueue: false,
      directQueueUrl: '',
      region: '',
      endpointUrl: '',
      waitTimeMs: 20_000,
    },
    sweeper: {
      enabled: false,
      retentionDays: 370,
      intervalMs: 21_600_000,
      firstIntervalMs: 600_000,
      lockDurationMs: 50,
      releaseDurationMs: 50,
      retentionLoadCutoffDurationMs: 0,
    },
    http: { address: '', debug: false },
    log: { level: 'info', format: 'human', timestamp: 'short' },
    health: {
      storageList: tracker,
      storageLoad: tracker,
      storageStore: tracker,
      start: { ...tracker, intervalMs: 1000, reportHealthz: false, reportMetadata: true },
    },
  });
});

describe('values', () => {
  test.each([
    ['only_once: yes', 'onlyOnce', true],
    ['only_once: On', 'onlyOnce', true],
    ['only_once: off', 'onlyOnce', false],
    ['lmdb_scrape_smaps: N', 'lmdbScrapeSmaps', false],
    ['lmdb_scrape_smaps: ~', 'lmdbScrapeSmaps', true],
    ['storage_poll_interval: 1m30s', 'storagePollIntervalMs', 90_000],
    ['storage_poll_interval: 1500000000', 'storagePollIntervalMs', 1500],
    ['lmdb_poll_interval: 100ms', 'lmdbPollIntervalMs', 100],
    ['lmdb_log_stats_interval: 0', 'lmdbLogStatsIntervalMs', 0],
    ['storage_force_snapshot_interval: 0', 'storageForceSnapshotIntervalMs', 0],
    ['storage_force_snapshot_interval: 1m', 'storageForceSnapshotIntervalMs', 60_000],
    ['storage_retry_count: 0x10', 'storageRetryCount', 16],
    ['memory_spool_bytes: 1000MB', 'memorySpoolBytes', 1000 * 2 ** 20],
    ['memory_spool_bytes: 1g', 'memorySpoolBytes', 2 ** 30],
    ['memory_spool_bytes: 2KB', 'memorySpoolBytes', 2048],
    ['memory_spool_bytes: 2 kb', 'memorySpoolBytes', 2048],
    ['memory_spool_bytes: 77', 'memorySpoolBytes', 77],
    ['instance: 12', 'instance', '12'],
    ['instance: "a_b.c d"', 'instance', 'a-b-c-d'],
    ['instance: yes', 'instance', 'yes'],
    ['http: {address: ":8500"}', 'http.address', ':8500'],
    ['http: {address: 127.0.0.1:8500}', 'http.address', '127.0.0.1:8500'],
    ['http: {address: "[::1]:80"}', 'http.address', '[::1]:80'],
    ['log: {timestamp: ""}', 'log.timestamp', ''],
    ['sweeper: {retention_days: 1.5}', 'sweeper.retentionDays', 1.5],
    ['health: {start: {interval: 0}}', 'health.start.intervalMs', 1000],
    ['health: {start: {error_duration: -5s}}', 'health.start.errorDurationMs', 0],
    ['storage: {cleanup: {enabled: true}}', 'storage.cleanup.intervalMs', 300_000],
  ])('%s', (yaml, path, expected) => {
    expect(valueOf(yaml, path)).toEqual(expected);
  });

  test.each(['trace', 'debug', 'info', 'warning', 'warn', 'error', 'fatal', 'panic'])(
    'log level %s',
    (level) => {
      expect(valueOf(`log: {level: ${level}}`, 'log.level')).toBe(level);
    },
  );

  test.each([
    ['file_mask: 0640', 0o640],
    ['file_mask: 0o640', 0o640],
    ['file_mask: 416', 0o640],
    ['file_mask: 0', 0o664],
  ])('mode %s', (yaml, expected) => {
    const { config } = parse(`lmdbs: {main: {path: /db, options: {${yaml}}}}`);
    expect(config.lmdbs.get('main')?.options.fileMask).toBe(expected);
  });

  test.each([
    ['MDB_INTEGERKEY', 0x08],
    ['integerkey', 0x08],
    ['MDB_DUPSORT|MDB_DUPFIXED', 0x14],
    ['dupsort, dupfixed + REVERSEKEY', 0x16],
    ['0x0c', 0x0c],
    ['0', 0],
  ])('DBI flags %s', (text, expected) => {
    const { config } = parse(
      `lmdbs: {main: {path: /db, dbi_options: {d: {override_create_flags: "${text}"}}}}`,
    );
    expect(config.lmdbs.get('main')?.dbiOptions.get('d')?.overrideCreateFlags).toBe(expected);
  });

  test('a file of the original with merge keys, comments and every section is read', () => {
    const { config } = parse(`
lmdbs:
  main: &db   # shared settings
    path: /var/lib/pdns.lmdb
    schema_tracks_changes: true
    options: {no_subdir: true, create: true, map_size: 1000MB}
  shard:
    <<: *db
    path: /var/lib/pdns.lmdb-0
sweeper: {enabled: on, retention_days: 3650}
storage:
  type: s3
  options: {access_key: minioadmin, secret_key: minioadmin, bucket: b, endpoint_url: "http://minio:9000"}
  cleanup: {enabled: true, interval: 15m, must_keep_interval: 24h, remove_old_instances_interval: 168h}
storage_poll_interval: 5s
http: {address: ":8500"}
health: {start: {report_healthz: true, error_duration: 0}}
`);
    expect(config.lmdbs.get('shard')).toMatchObject({
      path: '/var/lib/pdns.lmdb-0',
      schemaTracksChanges: true,
      options: { noSubdir: true, mapSizeBytes: 1000 * 2 ** 20 },
    });
    expect(requireStorageOptions(config.storage)).toMatchObject({
      type: 's3',
      bucket: 'b',
      clientTimeoutMs: 900_000,
    });
  });
});

describe('refused, with line, key and what would be right', () => {
  test.each([
    ['log: {level: loud}', '`log.level` must be one of'],
    ['log: {format: xml}', '`log.format` must be one of human, logfmt, json, not "xml"'],
    ['log: {timestamp: long}', '`log.timestamp` must be one of short, disable, full'],
    ['http: {address: localhost}', '`http.address` must be host:port'],
    ['http: {address: "h:99999"}', '`http.address` must be host:port'],
    ['lmdb_poll_interval: 99ms', '`lmdb_poll_interval` must be 100ms or more, not 99ms'],
    ['storage_poll_interval: 5', '`storage_poll_interval` must be 100ms or more, not 5'],
    ['storage_retry_interval: 0', '`storage_retry_interval` must be 100ms or more'],
    ['storage_force_snapshot_interval: 59s', 'must be 1m0s or more, or 0 for off, not 59s'],
    ['storage_retry_count: 0', '`storage_retry_count` must be 1 or more, not 0'],
    ['memory_downloaded_snapshots: 0', 'must be 1 or more'],
    ['memory_decompressed_snapshots: -1', 'must be 1 or more'],
    ['memory_downloaded_snapshots: 2.5', 'must be a whole number, not "2.5"'],
    ['memory_spool_bytes: 16Mb', 'is a number of bits'],
    ['memory_spool_bytes: 1.5MB', 'must be a size, not "1.5MB"'],
    ['memory_spool_bytes: 16XB', 'must be a size'],
    ['only_once: maybe', 'must be true or false, not "maybe"'],
    ['only_once: "true"', 'must be true or false'],
    ['storage_poll_interval: fast', 'must be a duration, not "fast"'],
    ['health: []', '`health` must be a map'],
    ['instance: [a]', '`instance` must be a single value (string), not a list'],
    ['sweeper: {retention_days: many}', 'must be a number of 0 or more'],
    ['storage: {type: ftp}', '`storage.type` must be one of fs, s3, azure, memory'],
  ])('%s', (yaml, message) => {
    const error = failure(`${MINIMAL}${yaml}\n`);
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.message).toContain(message);
    expect(error.message).toMatch(/^ls\.yaml:2: /);
  });

  test.each([
    ['{}', '`lmdbs` must name at least one database'],
    ['lmdbs: {main: {}}', 'ls.yaml:1: `lmdbs.main.path` is missing'],
    ['lmdbs: {main: {path: ""}}', '`lmdbs.main.path` is missing'],
    [
      'lmdbs:\n  main:\n    path: /x\n    options: {dir_mask: 777}',
      'at most 0777, not 777 (decimal instead of octal?)',
    ],
    ['lmdbs: {main: {path: /x, options: {file_mask: 1024}}}', 'decimal instead of octal?'],
    [
      'lmdbs:\n  m:\n    path: /x\n    schema_tracks_changes: true\n    dupsort_hack: true',
      'ls.yaml:5: `lmdbs.m` has both',
    ],
    [
      'lmdbs: {main: {path: /x, dbi_options: {d: {override_create_flags: FAST}}}}',
      'unknown DBI flag: FAST',
    ],
    [
      'lmdbs: {main: {path: /x, dbi_options: {d: {override_create_flags: 0x40000}}}}',
      'unknown DBI flag',
    ],
    ['just text', 'the file must be a map'],
    ['a: [1', 'ls.yaml:'],
  ])('%j', (text, message) => {
    expect(failure(text).message).toContain(message);
  });

  test('a mistyped key: with the key that was meant', () => {
    const error = failure(`${MINIMAL}lmdb_pol_interval: 1s\n`);
    expect(error.message).toBe('ls.yaml:2: unknown key `lmdb_pol_interval`');
    expect(error.hint).toBe('Did you mean `lmdb_poll_interval`?');
  });

  test('a key at the wrong place: with the right place', () => {
    const error = failure(`lmdbs:\n  main:\n    path: /db\n    no_subdir: true\n`);
    expect(error.message).toBe('ls.yaml:4: unknown key `no_subdir` in `lmdbs.main`');
    expect(error.hint).toBe('`no_subdir` belongs under `lmdbs.<name>.options`.');
  });

  test('a duplicate key, anywhere', () => {
    expect(failure(`${MINIMAL}only_once: true\nonly_once: false\n`).message).toBe(
      'ls.yaml:3: duplicate key `only_once`',
    );
    expect(failure('lmdbs:\n  a: {path: /x}\n  a: {path: /y}\n').message).toBe(
      'ls.yaml:3: duplicate key `a` in `lmdbs`',
    );
  });

  test('several problems at once, in the order of the file', () => {
    const error = failure(`${MINIMAL}only_once: 7\nfoo: 1\nuploads_burst: 3\n`);
    expect(error.message.split('\n').map((line) => line.slice(0, 10))).toEqual([
      'ls.yaml:2:',
      'ls.yaml:3:',
      'ls.yaml:4:',
    ]);
    expect(error.hint).toContain('line 4: Did you mean `upload_burst`?');
  });

  test('a bare number where seconds were meant: the hint says so', () => {
    expect(failure(`${MINIMAL}storage_poll_interval: 5\n`).hint).toBe(
      'A bare number is nanoseconds; write 5s for 5 seconds.',
    );
  });

  test('an instance without a usable name', () => {
    expect(() =>
      parseConfig(MINIMAL, { fileName: 'ls.yaml', processEnv: {}, hostname: '' }),
    ).toThrow(SyncError);
  });
});

describe('environment variables', () => {
  const processEnv = { NAME: 'x', A_1: 'y', EMPTY: '' };
  test.each([
    ['$NAME-${A_1}', 'x-y'],
    ['${NAME}b $NAME_b', 'xb '],
    ['$EMPTY|', '|'],
    ['$UNSET|${UNSET}|', '||'],
    ['$$', ''],
    ['a$', 'a$'],
    ['a$ b', 'a$ b'],
    ['$10', '0'],
    ['${}x', 'x'],
    ['${NAME', 'NAME'],
    ['# $NAME', '# x'],
  ])('%s becomes %s', (text, expected) => {
    expect(expandVariables(text, processEnv).text).toBe(expected);
  });

  test('what is not set is warned of with its line, but not in comments', () => {
    const { warnings } = parse(`# $COMMENT\n${MINIMAL}instance: $MISSING # $OTHER\n`);
    expect(warnings).toEqual([
      'ls.yaml:3: $MISSING is not set in the environment; nothing is put in its place',
    ]);
  });

  test('expansion comes before YAML', () => {
    const { config } = parse('lmdbs: $DBS\n', { DBS: '{main: {path: /db}}' });
    expect([...config.lmdbs.keys()]).toEqual(['main']);
  });
});

test('a hook after merges is a command or a PowerDNS, for databases that there are', () => {
  const hook = (text: string) => `${MINIMAL}after_merge: {pdns: {${text}}}\n`;
  const { config } = parse(hook('command: [echo, "a b", 5], databases: [main]'));
  expect(config.afterMerge.get('pdns')).toMatchObject({
    command: ['echo', 'a b', '5'],
    databases: ['main'],
    minIntervalMs: 100,
    timeoutMs: 10_000,
  });
  expect(formatEffectiveConfig(config)).toContain('command: ["echo", "a b", "5"]');
  const flush = parse(hook('powerdns_url: "http://127.0.0.1:8081", powerdns_api_key: hidden'));
  expect(formatEffectiveConfig(flush.config)).not.toContain('hidden');
  expect(failure(hook('')).message).toContain('must have either `command` or `powerdns_url`');
  expect(failure(hook('command: echo')).message).toContain('must be a list of texts');
  expect(failure(hook('command: [echo], databases: [other]')).message).toContain('names "other"');
  expect(failure(hook('powerdns_url: "http://x:1"')).message).toContain('must have both');
  const withPassword = failure(hook('powerdns_url: "http://u:hidden@x", powerdns_api_key: hidden'));
  expect(withPassword.message).toContain('is no URL');
  expect(withPassword.message).not.toContain('hidden');
  const badKey = failure(hook(String.raw`powerdns_url: "http://x", powerdns_api_key: "hid\nden"`));
  expect(badKey.message).toContain('no HTTP header can hold');
});
