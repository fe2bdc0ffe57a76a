import assert from 'node:assert/strict';
import { parseConfig } from '../../../agent/config/config.ts';
import { formatEffectiveConfig } from '../../../agent/config/effective.ts';
import { parseJob } from '../../../lambdas/compaction/job.ts';
import { parseRecords } from '../../../lambdas/fan-out/parse-records.ts';
import { encodeManifest, parseManifest } from '../../../protocol/manifest.ts';
import { encodeNotice, parseNotice } from '../../../protocol/notice.ts';
import { parseObjectName } from '../../../protocol/object-name.ts';
import { isUpdateMarkerText } from '../../../storage/update-marker.ts';
import { decodeVectorJson, encodeVectorJson } from '../../../protocol/version-vector.ts';
import { refusedOr, words, type FuzzTarget } from '../target.ts';

const NAME = 'main__ns1__20261123-160433-111487891__Gabcdefghijkl__S7.delta.gz';
const NOTICE = `{"version":1,"database":"main","instance":"ns1","name":"${NAME}","sizeBytes":312,"eventTimeMs":1795000000000}`;
const EVENT = `{"Records":[{"eventName":"ObjectCreated:Put","eventTime":"2026-11-23T16:04:33.111Z","s3":{"object":{"key":"p%2F${NAME}","size":312}}}]}`;
const VECTOR = '{"ns1.abcdefghijkl":"7","ns2.X":"1795000000000000000"}';
const MANIFEST = `{"version":1,"id":"5","database":"main","base":{"name":"main__compacted__20261123-160433-111487891__Gabcdefghijkl__S7.base.gz","sizeBytes":10},"level1":[],"vector":${VECTOR},"entries":3,"tombstones":1,"publishedAtNs":"1795000000000000000","rejoinBeforeNs":"0"}`;
const JSON_WORDS = words(
  'null',
  'true',
  '[]',
  '{}',
  '""',
  '-1',
  '1e999',
  '"__proto__"',
  '\\u0000',
  '\\ud800',
  '{"a":',
);

/** What lies in the queues: notices, S3's events, jobs. */
export const queueMessage: FuzzTarget = {
  name: 'queue-message',
  maxBytes: 8192,
  seeds: () => words(NOTICE, EVENT, '{"Event":"s3:TestEvent"}', '{"database":"main"}'),
  dictionary: [
    ...JSON_WORDS,
    ...words('ObjectCreated:', 'ObjectRemoved:', '%', '%zz', '+', '"Records"', 'p/'),
  ],
  run(input) {
    const text = Buffer.from(input).toString('utf8');
    const notice = refusedOr(['MESSAGE_INVALID'], () => parseNotice(text));
    if (notice !== undefined) {
      assert.deepEqual(parseNotice(encodeNotice(notice)), notice);
    }
    refusedOr(['MESSAGE_INVALID'], () => parseJob(text));
    for (const prefix of ['', 'p/']) {
      const { notices, dropped } = parseRecords([{ messageId: 'm', body: text }], prefix);
      assert(notices.size === 0 || dropped.length === 0, 'half of a message was taken');
      for (const [name, { notice: sent }] of notices) {
        assert.equal(sent.name, name);
        const parsed = parseObjectName(name);
        assert.equal(parsed?.instance, sent.instance, 'a writer that the name does not state');
        // What leaves must be taken at the other end.
        assert.deepEqual(parseNotice(encodeNotice(sent)), sent);
      }
    }
  },
};

/** Manifest, version vector, update marker: small objects in the bucket. */
export const bucketMessage: FuzzTarget = {
  name: 'bucket-message',
  maxBytes: 4096,
  seeds: () => words(MANIFEST, VECTOR, `${NAME}:etag:1795000000000000000:false`),
  dictionary: [
    ...JSON_WORDS,
    ...words('"rejoinBeforeNs"', '18446744073709551616', '"__proto__.x":"1"', ':true', ':'),
  ],
  run(input) {
    const text = Buffer.from(input).toString('utf8');
    const manifest = refusedOr(['MESSAGE_INVALID'], () => parseManifest(input));
    if (manifest !== undefined) {
      assert.deepEqual(parseManifest(encodeManifest(manifest)), manifest);
    }
    isUpdateMarkerText(text);
    let json: unknown;
    try {
      json = JSON.parse(text);
    } catch {
      return;
    }
    const vector = refusedOr(['MESSAGE_INVALID'], () => decodeVectorJson(json));
    if (vector !== undefined) {
      assert.deepEqual(decodeVectorJson(encodeVectorJson(vector)), vector);
    }
  },
};

const CONFIG = `instance: ns1
lmdbs:
  main: { path: /x, schema_tracks_changes: true, options: { no_subdir: true, map_size: 1GB, file_mask: 0644 } }
storage: { type: s3, options: { bucket: b, secret_key: "$SECRET", endpoint_url: "http://localhost:1" } }
sweeper: { enabled: true, retention_days: 30 }
storage_poll_interval: 1h2m3.5s
http: { address: ":8500" }
log: { level: debug, format: json }
`;

/** The configuration file. It is the operator's own, but a slip of the hand must not crash the agent. */
export const configuration: FuzzTarget = {
  name: 'configuration',
  maxBytes: 2048,
  seeds: () =>
    words(CONFIG, 'storage: {type: fs, options: {root_path: x}}\n', 'lmdbs: {a: {path: b}}\n'),
  dictionary: words(
    ': ',
    '\n  ',
    '- ',
    '&a ',
    '*a',
    '<<: ',
    '!!binary ',
    '---\n',
    '? ',
    '|\n',
    '"\\x',
    '${A}',
    '$',
    '1e9',
    '0o7',
    '5TB',
    '-1s',
    '[',
    '{',
    'type: azure',
  ),
  run(input) {
    const text = Buffer.from(input).toString('utf8');
    const parsed = refusedOr(['CONFIG_INVALID'], () =>
      parseConfig(text, { fileName: 'f', processEnv: { SECRET: 'hush' }, hostname: 'host' }),
    );
    if (parsed !== undefined) {
      refusedOr(['CONFIG_INVALID'], () => formatEffectiveConfig(parsed.config));
    }
  },
};
