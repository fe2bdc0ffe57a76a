import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { mockClient } from 'aws-sdk-client-mock';
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';

import type { S3StoreOptions } from '../../../storage/s3/options.ts';
import { openS3Store } from '../../../storage/s3/store.ts';
import {
  bodyOf,
  bytesOf,
  chunkedBody,
  listAll,
  readAll,
} from '../../support/object-store-conformance.ts';

const s3 = mockClient(S3Client);
const signal = new AbortController().signal;

function failure(name: string, status: number, attempts = 1): S3ServiceException {
  return new S3ServiceException({
    name,
    $fault: 'client',
    message: `says ${name}`,
    $metadata: { httpStatusCode: status, attempts, requestId: 'R1' },
  });
}

function openStore(more: Partial<S3StoreOptions> = {}) {
  return openS3Store({
    bucket: 'bucket',
    globalPrefix: 'fleet/',
    accessKey: 'AKIDEXAMPLE',
    secretKey: 'very-secret',
    ...more,
  });
}

const download = (text: string, fields: object = {}) => ({
  // The SDK adds methods to the stream that are not used here.
  Body: Readable.from([Buffer.from(text)]) as never,
  ContentLength: text.length,
  ETag: '"e1"',
  ...fields,
});

beforeEach(() => s3.reset());

test('create sends the whole body once, conditionally, with its MD5, class and prefix', async () => {
  s3.on(PutObjectCommand).resolves({ ETag: '"e1"' });
  const store = await openStore({ storageClass: 'STANDARD_IA' });
  expect(await store.create('a', bodyOf('hello'), signal)).toBe('stored');
  expect(s3.commandCalls(PutObjectCommand)).toHaveLength(1);
  expect(s3.commandCalls(PutObjectCommand)[0]?.args[0].input).toEqual({
    Bucket: 'bucket',
    Key: 'fleet/a',
    IfNoneMatch: '*',
    Body: new Uint8Array(bytesOf('hello')),
    ContentLength: 5,
    ContentMD5: createHash('md5').update('hello').digest('base64'),
    StorageClass: 'STANDARD_IA',
  });
});

test('put is unconditional, and sends no MD5 where that is switched off', async () => {
  s3.on(PutObjectCommand).resolves({ ETag: '"e1"' });
  const store = await openStore({ disableSendContentMd5: true });
  await store.put('a', bodyOf('hello'), signal);
  const { input } = s3.commandCalls(PutObjectCommand)[0]?.args[0] ?? {};
  expect(Object.keys(input ?? {}).toSorted()).toEqual(['Body', 'Bucket', 'ContentLength', 'Key']);
});

test('412 means that the object exists', async () => {
  s3.on(PutObjectCommand).rejects(failure('PreconditionFailed', 412));
  expect(await (await openStore()).create('a', bodyOf('x'), signal)).toBe('exists');
});

test('409 asks for another try, a bounded number of times', async () => {
  const conflict = failure('ConditionalRequestConflict', 409);
  s3.on(PutObjectCommand).rejectsOnce(conflict).resolves({ ETag: '"e2"' });
  const store = await openStore();
  expect(await store.create('a', bodyOf('x'), signal)).toBe('stored');
  s3.reset();
  s3.on(PutObjectCommand).rejects(conflict);
  await expect(store.create('a', bodyOf('x'), signal)).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
  });
  expect(s3.commandCalls(PutObjectCommand)).toHaveLength(5);
});

test('a conditional replacement sends the etag it was given', async () => {
  s3.on(PutObjectCommand).resolves({ ETag: '"e2"' });
  const store = await openStore();
  const options = { signal, etag: '"e1"' };
  expect(await store.putIfUnchanged('m', bytesOf('x'), options)).toBe('"e2"');
  expect(s3.commandCalls(PutObjectCommand)[0]?.args[0].input).toMatchObject({ IfMatch: '"e1"' });
});

test('a conditional write that was repeated and then refused is looked at before it counts as lost', async () => {
  s3.on(PutObjectCommand).rejects(failure('PreconditionFailed', 412, 2));
  s3.on(GetObjectCommand).resolvesOnce(download('ours', { ETag: '"mine"' }));
  const store = await openStore();
  const options = { signal, etag: '"e1"' };
  expect(await store.putIfUnchanged('m', bytesOf('ours'), options)).toBe('"mine"');
  s3.on(GetObjectCommand).resolvesOnce(download('them', { ETag: '"other"' }));
  expect(await store.putIfUnchanged('m', bytesOf('ours'), options)).toBeUndefined();
});

test('a large body goes in parts, and the condition on the request that makes the object', async () => {
  s3.on(CreateMultipartUploadCommand).resolves({ UploadId: 'U' });
  s3.on(UploadPartCommand).callsFake(({ PartNumber }) => ({ ETag: `"p${PartNumber}"` }));
  s3.on(CompleteMultipartUploadCommand).resolves({ ETag: '"whole-3"' });
  const bytes = Buffer.alloc(17 * 1024 * 1024, 'abc');
  const store = await openStore({ storageClass: 'GLACIER_IR' });
  expect(await store.create('big', chunkedBody(bytes, 999_999), signal)).toBe('stored');
  const parts = s3
    .commandCalls(UploadPartCommand)
    .map((call) => call.args[0].input)
    .toSorted((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0));
  expect(parts.map(({ ContentLength }) => ContentLength)).toEqual([8388608, 8388608, 1048576]);
  expect(Buffer.concat(parts.map(({ Body }) => Body as Uint8Array)).equals(bytes)).toBe(true);
  expect(parts[0]).toMatchObject({ UploadId: 'U', ContentMD5: expect.any(String) });
  expect(s3.commandCalls(CreateMultipartUploadCommand)[0]?.args[0].input).toEqual({
    Bucket: 'bucket',
    Key: 'fleet/big',
    StorageClass: 'GLACIER_IR',
  });
  expect(s3.commandCalls(CompleteMultipartUploadCommand)[0]?.args[0].input).toEqual({
    Bucket: 'bucket',
    Key: 'fleet/big',
    UploadId: 'U',
    IfNoneMatch: '*',
    MultipartUpload: {
      Parts: [1, 2, 3].map((PartNumber) => ({ PartNumber, ETag: `"p${PartNumber}"` })),
    },
  });
});

test('an upload of which a part fails is given up: no more parts, and what was stored is removed', async () => {
  s3.on(CreateMultipartUploadCommand).resolves({ UploadId: 'U' });
  s3.on(UploadPartCommand)
    .rejects(failure('InternalError', 500))
    .on(UploadPartCommand, { PartNumber: 1 })
    .resolves({ ETag: '"p1"' });
  s3.on(AbortMultipartUploadCommand).resolves({});
  const body = chunkedBody(new Uint8Array(64 * 1024 * 1024), 1024 * 1024);
  await expect((await openStore()).put('big', body, signal)).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
  });
  expect(s3.commandCalls(UploadPartCommand).length).toBeLessThanOrEqual(4);
  expect(s3.commandCalls(AbortMultipartUploadCommand)).toHaveLength(1);
  expect(s3.commandCalls(CompleteMultipartUploadCommand)).toHaveLength(0);
});

test('the first bytes are asked for by range, and the size is that of the whole object', async () => {
  s3.on(GetObjectCommand).resolves(download('0123', { ContentRange: 'bytes 0-3/10' }));
  const object = await (await openStore()).get('a', { signal, firstBytes: 4 });
  expect(object).toMatchObject({ sizeBytes: 10, etag: '"e1"' });
  expect((await readAll(object)).toString()).toBe('0123');
  expect(s3.commandCalls(GetObjectCommand)[0]?.args[0].input).toEqual({
    Bucket: 'bucket',
    Key: 'fleet/a',
    Range: 'bytes=0-3',
  });
});

test('the first bytes of an empty object are none', async () => {
  s3.on(GetObjectCommand)
    .rejectsOnce(failure('InvalidRange', 416))
    .resolves(download('', { ETag: '"empty"' }));
  const object = await (await openStore()).get('a', { signal, firstBytes: 4 });
  expect(object).toMatchObject({ sizeBytes: 0, etag: '"empty"' });
  expect(await readAll(object)).toHaveLength(0);
});

test('a response shorter than announced is an error, not a short object', async () => {
  s3.on(GetObjectCommand).resolves(download('0123', { ContentLength: 10 }));
  const object = await (await openStore()).get('a', { signal });
  await expect(readAll(object)).rejects.toMatchObject({
    code: 'STORAGE_FAILED',
    retryable: true,
    message: expect.stringContaining('4 of 10 bytes'),
  });
});

test('a listing is asked for by prefix and start, page by page, and gives names without the prefix', async () => {
  s3.on(ListObjectsV2Command)
    .resolvesOnce({
      Contents: [{ Key: 'fleet/m__b', Size: 3, ETag: '"x"', LastModified: new Date(1000) }],
      IsTruncated: true,
      NextContinuationToken: 'T',
    })
    .resolves({ Contents: [{ Key: 'fleet/m__c', Size: 4, ETag: '"y"' }], IsTruncated: false });
  const store = await openStore();
  expect(await listAll(store, 'm__', 'm__a')).toEqual([
    { name: 'm__b', sizeBytes: 3, etag: '"x"', lastModifiedMs: 1000 },
    { name: 'm__c', sizeBytes: 4, etag: '"y"', lastModifiedMs: 0 },
  ]);
  const inputs = s3.commandCalls(ListObjectsV2Command).map((call) => call.args[0].input);
  const first = { Bucket: 'bucket', Prefix: 'fleet/m__', MaxKeys: 1000, StartAfter: 'fleet/m__a' };
  expect(inputs).toEqual([first, { ...first, ContinuationToken: 'T' }]);
});

test('a listing that is cut without a way to go on is an error', async () => {
  s3.on(ListObjectsV2Command).resolves({ Contents: [], IsTruncated: true });
  await expect(listAll(await openStore(), '')).rejects.toMatchObject({ code: 'STORAGE_FAILED' });
});

test.each([{ hideFolders: true }, { prefixFolders: true }])('%j lists one level', async (flag) => {
  s3.on(ListObjectsV2Command).resolves({
    Contents: [{ Key: 'fleet/a' }, { Key: 'fleet/folder/' }],
  });
  const names = (await listAll(await openStore(flag), '')).map(({ name }) => name);
  expect(names).toEqual(['a']);
  expect(s3.commandCalls(ListObjectsV2Command)[0]?.args[0].input).toMatchObject({ Delimiter: '/' });
});

test.each([
  ['InvalidAccessKeyId', 403, 'STORAGE_DENIED', false, 'access_key'],
  ['SignatureDoesNotMatch', 403, 'STORAGE_DENIED', false, 'secret_key'],
  ['ExpiredToken', 400, 'STORAGE_DENIED', true, 'access_key'],
  ['AccessDenied', 403, 'STORAGE_DENIED', false, 's3:DeleteObject'],
  ['NoSuchBucket', 404, 'STORAGE_DENIED', false, 'create_bucket'],
  ['RequestTimeTooSkewed', 403, 'STORAGE_DENIED', true, 'NTP'],
  ['PermanentRedirect', 301, 'STORAGE_DENIED', false, 'region'],
  ['NotImplemented', 501, 'STORAGE_DENIED', false, 'conditional'],
  ['SlowDown', 503, 'STORAGE_FAILED', true, 'storage service'],
  ['InternalError', 500, 'STORAGE_FAILED', true, 'storage service'],
  ['InvalidStorageClass', 400, 'STORAGE_FAILED', false, 'storage.options'],
])('%s (%i) becomes %s, retryable %s', async (name, status, code, retryable, hint) => {
  s3.on(DeleteObjectCommand).rejects(failure(name, status));
  await expect((await openStore()).delete('a', signal)).rejects.toMatchObject({
    code,
    retryable,
    hint: expect.stringContaining(hint),
    message: expect.stringMatching(/delete a in bucket bucket at AWS S3: .*HTTP \d+, request R1/),
  });
});

test.each([
  ['Error', 'ENOTFOUND', 'STORAGE_FAILED', true, 'DNS', 'DNSError'],
  ['Error', 'EAI_AGAIN', 'STORAGE_FAILED', true, 'DNS', 'DNSError'],
  ['Error', 'ECONNREFUSED', 'STORAGE_FAILED', true, 'endpoint_url', 'URLError'],
  ['TimeoutError', 'ECONNRESET', 'STORAGE_FAILED', true, 'network', 'URLError'],
  ['TimeoutError', undefined, 'STORAGE_FAILED', true, 'firewalls', 'Timeout'],
  ['Error', 'ETIMEDOUT', 'STORAGE_FAILED', true, 'firewalls', 'Timeout'],
  ['Error', 'SELF_SIGNED_CERT_IN_CHAIN', 'STORAGE_DENIED', false, 'tls.ca_file', 'URLError'],
  ['Error', 'ERR_TLS_CERT_ALTNAME_INVALID', 'STORAGE_DENIED', false, 'tls.ca_file', 'URLError'],
  ['Error', 'EPROTO', 'STORAGE_DENIED', false, 'endpoint_url', 'URLError'],
  ['CredentialsProviderError', undefined, 'STORAGE_DENIED', true, 'access_key', 'Unknown'],
])('%s %s becomes %s, retryable %s', async (name, code, expected, retryable, hint, type) => {
  const types: (string | undefined)[] = [];
  const cause = Object.assign(new Error('some text'), { name }, code === undefined ? {} : { code });
  s3.on(DeleteObjectCommand).rejects(cause);
  const store = await openStore({ onRequest: ({ error }) => types.push(error) });
  await expect(store.delete('a', signal)).rejects.toMatchObject({
    name: 'SyncError',
    code: expected,
    retryable,
    hint: expect.stringContaining(hint),
  });
  expect(types).toEqual([type]);
});

test('no error carries what the service echoes of a signature', async () => {
  const echo = Object.assign(failure('SignatureDoesNotMatch', 403), {
    AWSAccessKeyId: 'AKIDEXAMPLE',
    StringToSign: 'AWS4-HMAC-SHA256 very-secret',
  });
  s3.on(DeleteObjectCommand).rejects(echo);
  const error: unknown = await (await openStore()).delete('a', signal).catch((e: unknown) => e);
  const everything = JSON.stringify(error, Object.getOwnPropertyNames(error)) + String(error);
  expect(everything).not.toMatch(/AKIDEXAMPLE|very-secret/);
  expect(error).not.toHaveProperty('cause');
});

test.each([
  [{ bucket: '' }, 'bucket'],
  [{ endpointUrl: 'minio.example:9000' }, 'http://'],
  [{ endpointUrl: 'ftp://minio.example' }, 'http://'],
  [{ endpointUrl: 'https://user:pass@minio.example' }, 'user name'],
  [{ secretKey: '' }, 'access_key but no secret_key'],
  [{ accessKey: '', secretKey: '', secretKeyFile: '/x' }, 'secret_key_file but no access_key_file'],
  [{ accessKeyFile: '/x', secretKeyFile: '/y', secretsRefreshIntervalMs: 500 }, '1s'],
  [{ tls: { caFile: '/nowhere/ca.pem' } }, '/nowhere/ca.pem'],
  [{ tls: { cert: 'PEM' } }, 'cert and key'],
  [{ tls: { insecureKeyLogFile: '/nowhere/keys' } }, '/nowhere/keys'],
])('options %j are refused', async (options, text) => {
  await expect(openStore(options)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(text),
    hint: expect.any(String),
  });
});
