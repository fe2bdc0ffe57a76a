import { openS3Store } from '../../../storage/s3/store.ts';
import {
  bodyOf,
  bytesOf,
  chunkedBody,
  listAll,
  objectStoreConformance,
  readAll,
} from '../../support/object-store-conformance.ts';
import { startQuirkyS3, type QuirkyS3, type S3Quirk } from '../../support/servers/quirky-s3.ts';

const signal = new AbortController().signal;
let service: QuirkyS3;

function open(url: string) {
  return openS3Store({
    bucket: 'b',
    globalPrefix: 'fleet/',
    endpointUrl: url,
    region: 'us-east-1',
    accessKey: 'k',
    secretKey: 's',
  });
}

/** What a service may do otherwise without anybody noticing. */
const HARMLESS: readonly (S3Quirk | undefined)[] = [
  undefined,
  'weak-etags',
  'bare-etags',
  'refusal-304',
  'ranges-ignored',
  'small-pages',
];

describe.each(HARMLESS)('a service with %s keeps the rules of every store', (quirk) => {
  objectStoreConformance({
    bigBodyBytes: 9 * 1024 * 1024,
    async open(hooks) {
      service = await startQuirkyS3(quirk === undefined ? [] : [quirk]);
      return openS3Store({
        ...hooks,
        bucket: 'b',
        endpointUrl: service.url,
        region: 'us-east-1',
        accessKey: 'k',
        secretKey: 's',
      });
    },
    openSame: () =>
      openS3Store({
        bucket: 'b',
        endpointUrl: service.url,
        region: 'us-east-1',
        accessKey: 'k',
        secretKey: 's',
      }),
    cleanUp: () => service.stop(),
  });
});

describe('a service that answers otherwise', () => {
  beforeEach(async () => {
    service = await startQuirkyS3();
  });
  afterEach(() => service.stop());

  test.each(['conditions-501', 'conditions-400'] as const)(
    'with %s: objects are created all the same, and one that is there stays',
    async (quirk) => {
      service.quirks.add(quirk);
      await using store = disposable(await open(service.url));
      expect(await store.create('a', bodyOf('one'), signal)).toBe('stored');
      expect(await store.create('a', bodyOf('two'), signal)).toBe('exists');
      const large = new Uint8Array(9 * 1024 * 1024).fill(7);
      expect(await store.create('large', chunkedBody(large, 1_000_000), signal)).toBe('stored');
      expect(service.objects.get('fleet/a')?.toString()).toBe('one');
      expect(service.objects.get('fleet/large')?.length).toBe(large.length);
    },
  );

  test.each(['conditions-501', 'conditions-400'] as const)(
    'with %s: a write that must not meet another one is refused, and nothing is stored',
    async (quirk) => {
      service.quirks.add(quirk);
      await using store = disposable(await open(service.url));
      await expect(
        store.putIfUnchanged('m', bytesOf('1'), { signal, etag: undefined }),
      ).rejects.toMatchObject({ name: 'SyncError' });
      expect(service.objects.size).toBe(0);
    },
  );

  test('an error of another cause is not taken for missing conditions', async () => {
    service.quirks.add('conditions-400');
    await using store = disposable(await open(service.url));
    await expect(store.create('a', { ...bodyOf('x'), sizeBytes: 9 }, signal)).rejects.toMatchObject(
      { code: 'STORAGE_FAILED' },
    );
    expect(service.objects.size).toBe(0);
  });

  test.each(['web-page', 'sloppy-web-page', 'empty-listing'] as const)(
    'with %s in place of a listing: an error that names the endpoint, never an empty bucket',
    async (quirk) => {
      service.quirks.add(quirk);
      await using store = disposable(await open(service.url));
      const host = new URL(service.url).host;
      await expect(listAll(store, 'main__')).rejects.toMatchObject({
        name: 'SyncError',
        code: 'STORAGE_FAILED',
        retryable: true,
        message: expect.stringContaining(host) as string,
      });
    },
  );

  test.each(['web-page', 'sloppy-web-page'] as const)(
    'with %s in place of an answer: nothing counts as stored, nothing as an object',
    async (quirk) => {
      service.quirks.add(quirk);
      await using store = disposable(await open(service.url));
      const refused = { name: 'SyncError', code: 'STORAGE_FAILED', retryable: true };
      await expect(store.create('a', bodyOf('x'), signal)).rejects.toMatchObject(refused);
      await expect(store.put('a', bodyOf('x'), signal)).rejects.toMatchObject(refused);
      await expect(store.get('a', { signal })).rejects.toMatchObject(refused);
      await expect(
        store.putIfUnchanged('m', bytesOf('1'), { signal, etag: undefined }),
      ).rejects.toMatchObject(refused);
    },
  );

  test.each(['lost-answers', 'stored-500'] as const)(
    'with %s: every write counts once, whatever answer got through',
    async (quirk) => {
      service.quirks.add(quirk);
      await using store = disposable(await open(service.url));
      let etag: string | undefined;
      for (let at = 0; at < 7; at += 1) {
        expect(['stored', 'exists']).toContain(
          await store.create(`a${at}`, bodyOf(`${at}`), signal),
        );
        etag = await store.putIfUnchanged('m', bytesOf(`${at}`), { signal, etag });
        expect(etag).toBeDefined();
      }
      expect((await listAll(store, 'a')).map(({ name }) => name)).toHaveLength(7);
      expect(service.objects.get('fleet/m')?.toString()).toBe('6');
    },
  );

  test('with chunked-get: an object of unannounced length comes whole', async () => {
    service.quirks.add('chunked-get');
    await using store = disposable(await open(service.url));
    await store.create('a', bodyOf('hello'), signal);
    expect((await readAll(await store.get('a', { signal }))).toString()).toBe('hello');
  });
});

/** Closes the store at the end of its scope. */
function disposable<T extends { close(): Promise<void> }>(store: T): T & AsyncDisposable {
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}
