import { readFileSync } from 'node:fs';
import path from 'node:path';
import protobuf from 'protobufjs';
import * as limits from '../../protocol/limits.ts';
import { encodeManifest, parseManifest } from '../../protocol/manifest.ts';
import { encodeNotice, parseNotice } from '../../protocol/notice.ts';
import {
  bucketIdName,
  manifestName,
  parseObjectName,
  type StreamId,
} from '../../protocol/object-name.ts';
import { mergeRegisters, type Register } from '../../protocol/register.ts';
import { encodeMeta, META_FIELDS } from '../../protocol/snapshot-meta.ts';
import { EMPTY_META } from '../../protocol/snapshot.ts';
import { parseValueHeader } from '../../protocol/value-header.ts';
import { decodeVectorJson, encodeVectorJson } from '../../protocol/version-vector.ts';
import { encodeSnapshot } from '../support/arbitraries.ts';
import { parseBytes } from '../support/fixtures.ts';

// docs/format.md is the specification that others implement. When one of these fails, the format was changed: make it
// read what exists, raise the version that section 5 asks for, and only then correct the page.

const page = readFileSync(path.join(process.cwd(), 'docs', 'format.md'), 'utf8');
const blocks = new Map(
  [...page.matchAll(/```(\S+(?: \S+)?)\n([\s\S]*?)```/g)].map(([, id = '', text = '']) => [
    id,
    text,
  ]),
);

function block(id: string): string {
  const text = blocks.get(id);
  if (text === undefined) {
    throw new Error(`docs/format.md has no block "${id}"`);
  }
  return text;
}

function hexBlock(id: string): Buffer {
  return Buffer.from(block(`hex ${id}`).replaceAll(/#.*$/gm, '').replaceAll(/\s/g, ''), 'hex');
}

const rows = (id: string): string[][] =>
  block(id)
    .trim()
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()));

const vector = new Map([
  ['host-a.abcdefghijkl' as StreamId, 7n],
  ['old-b.X' as StreamId, 1700000000000000000n],
]);

test.each(rows('names'))('the name %s is %s', (name, expected) => {
  const parsed = parseObjectName(name ?? '');
  const mark = parsed?.marked === true ? 'marked ' : '';
  expect(
    parsed === undefined ? 'foreign' : `${mark}${parsed.kind} ${parsed.stream} ${parsed.seq}`,
  ).toBe(expected);
});

test('manifest and bucket id have the names of the page', () => {
  expect(page).toContain(`\`${manifestName('<database>')}\``);
  expect(page).toContain(`\`${bucketIdName()}\``);
});

test('the smallest snapshot of the page is what the writer writes and the reader reads', () => {
  const bytes = hexBlock('smallest-snapshot');
  const entries = [
    {
      key: Buffer.from('k'),
      value: Buffer.from('v'),
      timestampNs: 1700000000000000000n,
      deleted: false,
    },
  ];
  const meta = { ...EMPTY_META, instance: 'z' };
  expect(
    encodeSnapshot({ meta, dbis: [{ name: 'foo', flags: 0, transform: '', entries }] }),
  ).toEqual(bytes);
  expect(parseBytes(bytes).meta).toEqual(meta);
});

test('the delta of the page is what the writer writes and the reader reads', () => {
  const meta = {
    ...EMPTY_META,
    generationId: 'Gabcdefghijkl',
    instance: 'host-a',
    hostname: 'a.example',
    lmdbTxnId: 300n,
    timestampNs: 1706745599012345678n,
    databaseName: 'main',
    run: 'abcdefghijkl',
    seq: 7n,
    writer: 'lightningstream-ts 0.1.0',
  };
  const entries = [
    {
      key: Buffer.from('k'),
      value: Buffer.from('v'),
      timestampNs: 1700000000000000000n,
      deleted: false,
    },
    { key: Buffer.from('m'), value: Buffer.of(), timestampNs: 1700000000000000001n, deleted: true },
  ];
  const bytes = hexBlock('delta');
  expect(
    encodeSnapshot({ meta, dbis: [{ name: 'records_v5', flags: 0, transform: '', entries }] }),
  ).toEqual(bytes);
  expect(parseBytes(bytes).meta).toEqual(meta);
});

test('the vector of the page has these bytes and this JSON', () => {
  expect(encodeMeta({ ...EMPTY_META, vector })).toEqual(hexBlock('meta-vector'));
  expect(JSON.stringify(encodeVectorJson(vector))).toBe(block('json vector').trim());
  expect(decodeVectorJson(JSON.parse(block('json vector')))).toEqual(vector);
});

test("the page's schema has the fields that the code writes", () => {
  const { root } = protobuf.parse(block('proto'));
  const numbers = root.lookupType('Meta').fieldsArray.map((field) => field.id);
  const ours = Object.values(META_FIELDS);
  expect(numbers.sort((a, b) => a - b)).toEqual([...ours].sort((a, b) => a - b));
  expect(root.lookupType('DBI').fieldsArray.map((field) => field.id)).toEqual([1, 2, 3, 4]);
});

test.each([
  ['live', 0, 24, 'v'],
  ['tombstone', 1, 24, ''],
  ['extended', 0, 32, 'v'],
])('the value header "%s" of the page parses', (id, flags, headerLength, value) => {
  const bytes = hexBlock(`header-${id}`);
  expect(parseValueHeader(bytes)).toEqual({
    timestampNs: 1700000000000000000n,
    txnId: 1n,
    flags,
    headerLength,
  });
  expect(bytes.subarray(headerLength).toString()).toBe(value);
});

function registerOf(text: string): Register | undefined {
  const match = /^(.*)\((\d+)\)$/.exec(text);
  if (match === null) {
    return undefined;
  }
  const deleted = match[1] === 'deleted';
  const value = Buffer.from(deleted || match[1] === "''" ? '' : (match[1] ?? ''));
  return { timestampNs: BigInt(match[2] ?? '0'), value, deleted };
}

test.each(rows('merge'))(
  'merging %s with %s gives %s',
  (stored = '', incoming = '', result = '') => {
    const local = registerOf(stored);
    const remote = registerOf(incoming) as Register;
    expect(local === undefined ? remote : mergeRegisters(local, remote)).toEqual(
      registerOf(result),
    );
  },
);

test('manifest and notice of the page are read, and written with these fields', () => {
  const manifest = parseManifest(Buffer.from(block('json manifest')));
  expect(manifest.vector).toEqual(vector);
  expect(JSON.parse(Buffer.from(encodeManifest(manifest)).toString())).toEqual(
    JSON.parse(block('json manifest')),
  );
  const notice = parseNotice(block('json notice'));
  expect(JSON.parse(encodeNotice(notice))).toEqual(JSON.parse(block('json notice')));
});

test('the bucket id of the page is one', () => {
  expect(JSON.parse(block('json bucket-id'))).toEqual({
    version: 1,
    id: expect.stringMatching(/^.{8,128}$/),
  });
});

test('the limits of the page are those of the code', () => {
  const mebibytes = (bytes: number): string => `${bytes / 1024 ** 2} MiB`;
  const limit = (name: string): string =>
    new RegExp(`^\\| ${name}[^|]*\\| ([^|]*) \\|`, 'm').exec(page)?.[1] ?? '';
  expect(limit('key, DBI name')).toBe(`${limits.MAX_KEY_BYTES} bytes`);
  expect(limit('one KV')).toBe(mebibytes(limits.MAX_ENTRY_BYTES));
  expect(limit('Meta')).toBe(mebibytes(limits.MAX_META_BYTES));
  expect(limit('streams in a vector')).toBe(limits.MAX_VECTOR_STREAMS.toLocaleString('en'));
  expect(limit('DBI message with')).toBe(mebibytes(limits.HELD_DBI_BYTES));
  expect(limit('decompressed size')).toBe(`${limits.MAX_DECOMPRESSED_BYTES / 1024 ** 3} GiB`);
  expect(limit('decompressed per')).toBe(String(limits.MAX_DECOMPRESSION_RATIO));
  expect(limit('object name')).toBe(
    `${limits.MAX_OBJECT_NAME_LENGTH} characters; new ones ${limits.MAX_NEW_OBJECT_NAME_LENGTH}`,
  );
  expect(limit('manifest, notice')).toBe(
    `${mebibytes(limits.MAX_MANIFEST_BYTES)}, ${limits.MAX_NOTICE_BYTES / 1024} KiB`,
  );
});

test('every example of the page is run by a test of this file', () => {
  const run = [
    'names',
    'merge',
    'proto',
    'json vector',
    'json manifest',
    'json notice',
    'json bucket-id',
  ];
  const hex = [
    'smallest-snapshot',
    'delta',
    'meta-vector',
    'header-live',
    'header-tombstone',
    'header-extended',
  ];
  expect([...blocks.keys()].sort()).toEqual([...run, ...hex.map((id) => `hex ${id}`)].sort());
});
