import { manifestName, probeName } from '../../protocol/object-name.ts';
import { bytesBody } from '../../storage/bodies.ts';
import { MemoryObjectStore } from '../../storage/memory.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { openS3Store } from '../../storage/s3/store.ts';
import { SIGNAL, TestCompactor, TestWriter, entry, names, plain } from '../support/compaction.ts';
import { freshState } from '../support/readers/fresh-reader.ts';
import { FaultyStore } from '../support/faulty-store.ts';
import { startQuirkyS3, type QuirkyS3, type S3Quirk } from '../support/servers/quirky-s3.ts';

const DAY_MS = 24 * 60 * 60 * 1000;
const LEFT_BY_KILLED = probeName('main', 'killedkilled');

describe('on a service with S3 quirks', () => {
  let service: QuirkyS3;
  let store: ObjectStore;

  beforeEach(async () => {
    service = await startQuirkyS3();
    store = await openS3Store({
      bucket: 'b',
      endpointUrl: service.url,
      region: 'us-east-1',
      accessKey: 'k',
      secretKey: 's',
    });
  });
  afterEach(async () => {
    await store.close();
    await service.stop();
  });

  async function write(count: number, instance = 'a'): Promise<void> {
    const writer = new TestWriter(store, { instance, run: 'run1' });
    for (let at = 0; at < count; at += 1) {
      await writer.delta([{ name: 'd', entries: [entry(`${instance}${at}`, 'v', 1n)] }]);
    }
  }

  test.each(['conditions-ignored', 'conditions-501', 'conditions-400'] as const)(
    'with %s: compaction is refused in one line, and leaves the bucket as it was',
    async (quirk) => {
      await write(3);
      const before = await names(store);
      service.quirks.add(quirk);
      const compactor = new TestCompactor(store);
      await expect(compactor.run()).rejects.toMatchObject({ name: 'SyncError' });
      await expect(compactor.run({ dryRun: true })).resolves.toMatchObject({ outcome: 'planned' });
      expect(await names(store)).toEqual(before);
    },
  );

  test('with conditions-ignored since yesterday: two compactors at once delete nothing that is needed', async () => {
    await write(3);
    const one = new TestCompactor(store);
    const other = new TestCompactor(store);
    await one.run();
    await write(2, 'b');
    const before = plain(await freshState(store));
    service.quirks.add('conditions-ignored');
    one.advanceMs(DAY_MS);
    other.advanceMs(DAY_MS);
    const results = await Promise.allSettled([one.run(), other.run()]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    expect(plain(await freshState(store))).toEqual(before);
  });

  test.each<S3Quirk>(['weak-etags', 'bare-etags', 'refusal-304', 'stored-500', 'small-pages'])(
    'with %s: every run publishes, and leaves no base that nothing names',
    async (quirk) => {
      service.quirks.add(quirk);
      const compactor = new TestCompactor(store);
      for (let round = 0; round < 3; round += 1) {
        await write(2, `host${round}`);
        expect(['published', 'confirmed']).toContain((await compactor.run()).outcome);
        compactor.advanceMs(DAY_MS);
      }
      await compactor.run();
      const left = (await names(store)).filter((name) => name !== manifestName('main'));
      expect(left).toHaveLength(1);
    },
  );
});

test('a proof holds for a day, and then is made anew', async () => {
  const memory = new MemoryObjectStore();
  const store = new FaultyStore(memory);
  const writer = new TestWriter(memory, { instance: 'a', run: 'run1' });
  const compactor = new TestCompactor(store);
  const creates = async (): Promise<number> => {
    await writer.delta([{ name: 'd', entries: [entry('k', 'v', 1n)] }]);
    const before = store.calls.create;
    expect((await compactor.run()).outcome).toBe('published');
    return store.calls.create - before;
  };
  const withProof = await creates();
  expect(await creates()).toBe(withProof - 2);
  compactor.advanceMs(DAY_MS);
  expect(await creates()).toBe(withProof);
});

test('a probe that a killed run has left is removed, that of a run under way is not', async () => {
  let nowMs = 0;
  const store = new MemoryObjectStore({ nowMs: () => nowMs });
  const writer = new TestWriter(store, { instance: 'a', run: 'run1' });
  const compactor = new TestCompactor(store);
  await writer.snapshot([{ name: 'd', entries: [entry('k', 'v', 1n)] }]);
  await store.create(LEFT_BY_KILLED, bytesBody(Buffer.from('x')), SIGNAL);
  nowMs = Number(compactor.nowNs / 1_000_000n);
  const underWay = probeName('main', 'runsnowruns1');
  await store.create(underWay, bytesBody(Buffer.from('x')), SIGNAL);
  const { written } = await compactor.run();
  expect(new Set(await names(store))).toEqual(new Set([manifestName('main'), underWay, written]));
});

test('an idle run with nothing to delete proves nothing, and asks for nothing but the listing', async () => {
  const store = new FaultyStore(new MemoryObjectStore());
  expect((await new TestCompactor(store).run()).outcome).toBe('nothing');
  expect(store.calls.create).toBe(0);
});
