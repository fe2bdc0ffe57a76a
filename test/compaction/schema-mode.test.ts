import { MemoryObjectStore } from '../../storage/memory.ts';
import {
  TestCompactor,
  manifestOf,
  TestWriter,
  entry,
  mergeBytes,
  names,
  readObject,
  type State,
} from '../support/compaction.ts';

const records = (key: string, value = 'v') => [
  { name: 'records', entries: [entry(key, value, 1n)] },
];

function setup(policy = {}) {
  const store = new MemoryObjectStore();
  const writer = (instance: string, schemaMode?: string) =>
    new TestWriter(store, {
      instance,
      run: `run${instance}`,
      ...(schemaMode === undefined ? {} : { schemaMode }),
    });
  return { store, writer, compactor: new TestCompactor(store, policy) };
}

/** The mode that the Meta of an object states. */
async function statedMode(store: MemoryObjectStore, name: string) {
  return mergeBytes(new Map(), (await readObject(store, name)) ?? Buffer.alloc(0)).schemaMode;
}

test.each(['native', 'shadow'] as const)(
  'base, level-1 delta and manifest state the mode of what was folded: %s',
  async (mode) => {
    const { store, writer, compactor } = setup({ smallBaseBytes: 0, baseDueRatio: 1000 });
    const a = writer('a', mode);
    await a.snapshot(records('k1'));
    await compactor.run();
    await a.delta(records('k2'));
    expect(await compactor.run()).toMatchObject({ level: 'level1' });
    const manifest = await manifestOf(store);
    expect(manifest.schemaMode).toBe(mode);
    for (const name of [manifest.base, ...manifest.level1]) {
      expect(await statedMode(store, name)).toBe(mode);
    }
  },
);

test("an object of another mode than the base's stays alone, uncovered and reported", async () => {
  const { store, writer, compactor } = setup();
  await writer('a', 'native').snapshot(records('k1'));
  await compactor.run();
  const wrong = await writer('b', 'shadow').snapshot(records('k1', 'header and all'));
  await writer('c', 'native').snapshot(records('k2'));

  const report = await compactor.run();

  expect(report).toMatchObject({ outcome: 'published', foldedObjects: 1, leftObjects: 1 });
  expect(report.unreadable).toEqual([
    { name: wrong, reason: expect.stringContaining('shadow schema mode') as string },
  ]);
  expect(await names(store)).toContain(wrong);
  const manifest = await manifestOf(store);
  expect(manifest).toMatchObject({ schemaMode: 'native', entries: 2 });
  expect(manifest.vector.has('b.runb' as never)).toBe(false);
});

test('without a base the mode of most instances counts, whoever wrote first or last', async () => {
  const { store, writer, compactor } = setup();
  const a = writer('a', 'shadow');
  const wrong = [await a.snapshot(records('k1'))];
  await writer('b', 'native').snapshot(records('k2'));
  await writer('c', 'native').delta(records('k3'));
  // More objects, and the newest one, give one instance no more weight.
  wrong.push(await a.snapshot(records('k4')), await a.snapshot(records('k5')));
  const report = await compactor.run();
  expect(report.unreadable.map(({ name }) => name).toSorted()).toEqual(wrong.toSorted());
  expect(await manifestOf(store)).toMatchObject({ schemaMode: 'native', entries: 2 });
});

test('as many instances of one mode as of the other: nothing that states one is folded', async () => {
  const { store, writer, compactor } = setup();
  await writer('a', 'shadow').snapshot(records('k1'));
  await writer('b', 'native').snapshot(records('k2'));
  await writer('old').snapshot(records('k3'));
  const report = await compactor.run();
  expect(report.unreadable).toHaveLength(2);
  expect(report.unreadable[0]?.reason).toContain('as many instances have another one');
  const manifest = await manifestOf(store);
  expect(manifest).toMatchObject({ entries: 1 });
  expect(manifest.schemaMode).toBeUndefined();
});

test('objects that state no mode are folded with any; the base then states the one that was', async () => {
  const { store, writer, compactor } = setup();
  await writer('old').snapshot(records('k1'));
  await compactor.run();
  expect((await manifestOf(store)).schemaMode).toBeUndefined();
  await writer('a', 'native').snapshot(records('k2'));
  await writer('older').snapshot(records('k3'));
  const report = await compactor.run();
  expect(report.unreadable).toEqual([]);
  expect(await manifestOf(store)).toMatchObject({ schemaMode: 'native', entries: 3 });
});

test('a mode that this version does not know is left alone', async () => {
  const { store, writer, compactor } = setup();
  const later = await writer('a', 'mixed').snapshot(records('k1'));
  await writer('b', 'native').snapshot(records('k2'));
  const report = await compactor.run();
  expect(report.unreadable.map(({ name }) => name)).toEqual([later]);
  expect(await names(store)).toContain(later);
});

test.each([
  ['pairs of keys and values, in native mode', { flags: 4, transform: 'dupsort_hack_v1' }],
  ['keys of one byte in a DBI of integers', { flags: 8 }],
])(
  'an object with %s would make a base that no agent reads: it stays alone',
  async (_what, header) => {
    const { store, writer, compactor } = setup();
    await writer('a', 'native').snapshot(records('k1'));
    const wrong = await writer('b', 'native').snapshot([
      { name: 'strange', ...header, entries: [entry('k', 'v', 1n)] },
    ]);
    const report = await compactor.run();
    expect(report.unreadable.map(({ name }) => name)).toEqual([wrong]);
    const { base, vector } = await manifestOf(store);
    const state: State = new Map();
    mergeBytes(state, (await readObject(store, base)) ?? Buffer.alloc(0));
    expect([...state.keys()]).toEqual(['records']);
    expect(vector.size).toBe(1);
    expect(await names(store)).toContain(wrong);
  },
);
