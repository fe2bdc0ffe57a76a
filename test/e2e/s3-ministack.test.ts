import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';

import type { ObjectStore } from '../../storage/object-store.ts';
import type { S3StoreOptions } from '../../storage/s3/options.ts';
import { openS3Store } from '../../storage/s3/store.ts';
import type { MiniStack } from '../support/aws/ministack.ts';
import { findMiniStack, startMiniStack } from '../support/aws/ministack.ts';
import {
  bodyOf,
  chunkedBody,
  listAll,
  objectStoreConformance,
  readAll,
} from '../support/object-store-conformance.ts';

jest.setTimeout(120_000);

const signal = new AbortController().signal;
const program = findMiniStack();
const describeWithServer = program === undefined ? describe.skip : describe;
let servers: { plain: MiniStack; tls: MiniStack } | undefined;

beforeAll(async () => {
  if (program === undefined) {
    return;
  }
  servers = {
    plain: await startMiniStack(program),
    tls: await startMiniStack(program, { tls: true }),
  };
});

afterAll(async () => {
  await Promise.all([servers?.plain.stop(), servers?.tls.stop()]);
});

function server(kind: 'plain' | 'tls'): MiniStack {
  if (servers === undefined) {
    throw new Error('MiniStack is not running');
  }
  return servers[kind];
}

function freshBucket(kind: 'plain' | 'tls', more: Partial<S3StoreOptions> = {}): S3StoreOptions {
  const { endpoint, accessKey, secretKey, caFile } = server(kind);
  return {
    endpointUrl: endpoint,
    accessKey,
    secretKey,
    bucket: `bucket-${randomUUID()}`,
    createBucket: true,
    tls: { caFile },
    ...more,
  };
}

describeWithServer.each(['plain', 'tls'] as const)('S3 store (%s)', (kind) => {
  let options: S3StoreOptions;
  objectStoreConformance({
    open: async (hooks) => {
      options = freshBucket(kind, { globalPrefix: 'some/prefix-', ...hooks });
      return openS3Store(options);
    },
    openSame: () => openS3Store({ ...options, onRequest: undefined }),
  });
});

describeWithServer('S3 store against a server', () => {
  const open: ObjectStore[] = [];
  const openStore = async (options: S3StoreOptions) => {
    const store = await openS3Store(options);
    open.push(store);
    return store;
  };
  afterEach(async () => {
    await Promise.all(open.splice(0).map((store) => store.close()));
  });

  test('lists more than one page', async () => {
    const store = await openStore(freshBucket('plain'));
    const names = Array.from({ length: 1203 }, (_, i) => `n-${String(i).padStart(5, '0')}`);
    for (let at = 0; at < names.length; at += 50) {
      await Promise.all(
        names.slice(at, at + 50).map((name) => store.create(name, bodyOf(name), signal)),
      );
    }
    expect((await listAll(store, 'n-')).map(({ name }) => name)).toEqual(names);
    expect((await listAll(store, 'n-', 'n-00007')).map(({ name }) => name)).toEqual(names.slice(8));
  });

  test('the global prefix is put before names as it is, and others are not seen', async () => {
    const options = freshBucket('plain', { globalPrefix: 'fleet-a' });
    const inside = await openStore(options);
    const whole = await openStore({ ...options, globalPrefix: '' });
    await inside.create('x', bodyOf('1'), signal);
    await whole.create('other', bodyOf('2'), signal);
    expect((await listAll(whole, '')).map(({ name }) => name)).toEqual(['fleet-ax', 'other']);
    expect((await listAll(inside, '')).map(({ name }) => name)).toEqual(['x']);
  });

  test('hide_folders leaves out what lies below', async () => {
    const options = freshBucket('plain');
    const store = await openStore(options);
    for (const name of ['a', 'folder/b', 'folder/']) {
      await store.create(name, bodyOf('x'), signal);
    }
    const flat = await openStore({ ...options, hideFolders: true });
    expect((await listAll(flat, '')).map(({ name }) => name)).toEqual(['a']);
  });

  test('a bucket is made once, by whoever comes first', async () => {
    const options = freshBucket('plain', { region: 'eu-west-1' });
    await Promise.all([openStore(options), openStore(options), openStore(options)]);
    const store = await openStore({ ...options, createBucket: false });
    expect(await listAll(store, '')).toEqual([]);
  });

  test('a missing bucket is told with what to do', async () => {
    const store = await openStore(freshBucket('plain', { createBucket: false }));
    const missing = {
      code: 'STORAGE_DENIED',
      retryable: false,
      hint: expect.stringContaining('create_bucket'),
    };
    await expect(listAll(store, '')).rejects.toMatchObject(missing);
    await expect(store.get('a', { signal })).rejects.toMatchObject(missing);
    await expect(store.create('a', bodyOf('x'), signal)).rejects.toMatchObject(missing);
  });

  test('a multipart upload without Content-MD5 and with more parts at once arrives whole', async () => {
    const store = await openStore(
      freshBucket('plain', { disableSendContentMd5: true, numMinioThreads: 4 }),
    );
    const bytes = Buffer.alloc(33_000_001, 'abcdefg');
    expect(await store.create('big', chunkedBody(bytes, 1_000_003), signal)).toBe('stored');
    expect((await readAll(await store.get('big', { signal }))).equals(bytes)).toBe(true);
  });

  test('a CA given inline is trusted; no CA, or another one, is refused with a hint', async () => {
    const { caFile = '' } = server('tls');
    const ca = await readFile(caFile, 'utf8');
    const options = freshBucket('tls', { tls: { ca, addSystemCaPool: true } });
    const store = await openStore(options);
    await store.create('a', bodyOf('x'), signal);
    const distrusting = await openStore({ ...options, createBucket: false, tls: {} });
    await expect(distrusting.get('a', { signal })).rejects.toMatchObject({
      code: 'STORAGE_DENIED',
      hint: expect.stringContaining('tls.ca_file'),
    });
    const careless = await openStore({
      ...options,
      createBucket: false,
      tls: { insecureSkipVerify: true },
    });
    expect((await readAll(await careless.get('a', { signal }))).toString()).toBe('x');
  });
});
