import { QuietFleet, shortName } from '../../simulation/quiet/quiet-fleet.ts';

let fleet: QuietFleet;
/** Attempts to store objects, with their bytes. */
let attempts: { name: string; bytes: string }[];

beforeEach(() => {
  fleet = new QuietFleet();
  attempts = [];
  fleet.store.onCreate = (name, bytes) => {
    if (name.endsWith('.pb.gz')) {
      attempts.push({ name, bytes: Buffer.from(bytes).toString('base64') });
    }
  };
});

afterEach(() => fleet.dispose());

async function startedA(overrides: Parameters<QuietFleet['start']>[1] = {}) {
  const run = fleet.start(fleet.a, overrides);
  await fleet.until('the start of A', () => run.isStarted);
  return run;
}

test('the first object of an LMDB is a full snapshot, what follows are deltas', async () => {
  await startedA();
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  fleet.write(fleet.a, 'k', '2');
  await fleet.until('the second object', () => fleet.stored().length === 2);
  fleet.write(fleet.a, 'k', undefined);
  await fleet.until('the third object', () => fleet.stored().length === 3);
  expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.2 delta', 'a.3 delta']);
});

test('an empty LMDB has nothing to say', async () => {
  await startedA();
  await fleet.rest();
  expect(attempts).toEqual([]);
});

test.each(['fail', 'answer lost', 'lands later'] as const)(
  'a PUT that ends with "%s" is repeated with the same name and bytes until it is stored',
  async (fault) => {
    await startedA();
    let failures = 3;
    fleet.store.plan = (call) => (call === 'create' && failures-- > 0 ? fault : 'none');
    fleet.write(fleet.a, 'k', '1');
    await fleet.until('the object', () => attempts.length === 4);
    fleet.write(fleet.a, 'k', '2');
    await fleet.until('the next object', () => fleet.stored().length === 2);
    await fleet.store.landLate();
    expect(new Set(attempts.slice(0, 4).map(({ name }) => name)).size).toBe(1);
    expect(new Set(attempts.slice(0, 4).map(({ bytes }) => bytes)).size).toBe(1);
    expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.2 delta']);
  },
);

describe('after an error that nobody expects', () => {
  test('while an object is made ready, what it held is sent all the same', async () => {
    await startedA();
    fleet.write(fleet.a, 'k', '1');
    await fleet.until('the first object', () => fleet.stored().length === 1);
    fleet.observer = { generated: failOnce() };
    await fleet.stop(fleet.a);
    await startedA();
    fleet.write(fleet.a, 'k', '2');
    fleet.write(fleet.a, 'l', '1');
    await fleet.until('the object', () => fleet.stored().length === 2);
    expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.1 delta']);
    expect([...lastContent().keys()]).toEqual(['zones/k', 'zones/l']);
  });

  test('behind an attempt, its number is given up and a full snapshot holds what it held', async () => {
    await startedA();
    fleet.write(fleet.a, 'k', '1');
    await fleet.until('the first object', () => fleet.stored().length === 1);
    fleet.observer = { storeFailed: failOnce() };
    await fleet.stop(fleet.a);
    await startedA();
    // The answer is lost and the object is there: under its number nothing else may be stored.
    let failures = 1;
    fleet.store.plan = (call) => (call === 'create' && failures-- > 0 ? 'answer lost' : 'none');
    fleet.write(fleet.a, 'k', '2');
    await fleet.until('the full snapshot', () => fleet.stored().length === 3);
    expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.1 delta', 'a.2 snapshot']);
    const b = fleet.start(fleet.b);
    await fleet.until('the start of B', () => b.isStarted);
    expect(fleet.read(fleet.b, 'k')).toBe('2');
  });

  test('only-once does not end before what is left is stored', async () => {
    fleet.write(fleet.a, 'k', '1');
    fleet.observer = { generated: failOnce() };
    const run = fleet.start(fleet.a, { onlyOnce: true });
    await run.ended();
    run.requireNoFailure();
    expect(fleet.stored()).toEqual(['a.1 snapshot']);
  });

  function failOnce(): () => void {
    let failures = 1;
    return () => {
      if (failures-- > 0) {
        throw new TypeError('nobody expects this');
      }
    };
  }

  function lastContent(): ReadonlyMap<string, unknown> {
    return [...fleet.ledger.objects.values()].at(-1)?.content ?? new Map();
  }
});

test('the next PUT begins when the one before is acknowledged, and holds all that changed meanwhile', async () => {
  await startedA();
  let letGo: () => void = () => undefined;
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  fleet.store.plan = (call) => (call === 'create' ? 'slow' : 'none');
  fleet.store.pause = () => held;
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first attempt', () => attempts.length === 1);
  for (let change = 2; change < 6; change += 1) {
    fleet.write(fleet.a, `k${change}`, `${change}`);
    await fleet.rest();
  }
  expect(attempts).toHaveLength(1);
  fleet.store.plan = () => 'none';
  letGo();
  await fleet.until('the second object', () => fleet.stored().length === 2);
  await fleet.rest();
  expect(attempts.map(({ name }) => shortName(name))).toEqual(['a.1 snapshot', 'a.2 delta']);
  const second = fleet.ledger.objects.get(attempts[1]?.name ?? '');
  expect([...(second?.content.keys() ?? [])]).toEqual([
    'zones/k2',
    'zones/k3',
    'zones/k4',
    'zones/k5',
  ]);
});

test('a long stream of changes costs one object per interval after the burst', async () => {
  await startedA({ uploadMinIntervalMs: 1000, uploadBurst: 2 });
  for (let change = 0; change < 6; change += 1) {
    fleet.write(fleet.a, `k${change}`, 'x');
    await fleet.rest();
  }
  expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.2 delta']);
  fleet.clock.advanceMs(1000);
  await fleet.until('the third object', () => fleet.stored().length === 3);
  await fleet.rest();
  const third = [...fleet.ledger.objects.values()][2];
  expect([...(third?.content.keys() ?? [])]).toEqual([
    'zones/k2',
    'zones/k3',
    'zones/k4',
    'zones/k5',
  ]);
});

test('a full snapshot follows when there are many deltas', async () => {
  await startedA({ maxDeltas: 2 });
  for (let change = 1; change <= 3; change += 1) {
    fleet.write(fleet.a, `k${change}`, 'x');
    await fleet.until('its object', () => fleet.stored().length >= change);
  }
  await fleet.until('the full snapshot', () => fleet.stored().length === 4);
  fleet.write(fleet.a, 'k', 'x');
  await fleet.until('the next delta', () => fleet.stored().length === 5);
  expect(fleet.stored()).toEqual([
    'a.1 snapshot',
    'a.2 delta',
    'a.3 delta',
    'a.4 marked',
    'a.5 delta',
  ]);
});

describe('over restarts', () => {
  const kinds = () => fleet.stored().map((name) => name.split(' ')[1]);
  const LONG_RUN = ['snapshot', 'delta', 'delta', 'marked', 'delta', 'delta', 'marked', 'delta'];

  test('six only-once runs make full snapshots as often as one long run', async () => {
    await startedA({ maxDeltas: 2 });
    for (const stored of [1, 2, 4, 5, 7, 8]) {
      fleet.write(fleet.a, 'k', `${stored}`);
      await fleet.until('its objects', () => fleet.stored().length === stored);
    }
    expect(kinds()).toEqual(LONG_RUN);
    await fleet.dispose();
    fleet = new QuietFleet();
    for (let change = 0; change < 6; change += 1) {
      fleet.write(fleet.a, 'k', `${change}`);
      const run = fleet.start(fleet.a, { maxDeltas: 2, onlyOnce: true });
      await run.ended();
      run.requireNoFailure();
    }
    // Unmarked: whoever reads none of them would miss what replaces the objects of the earlier runs.
    expect(kinds()).toEqual(LONG_RUN.map((kind) => (kind === 'marked' ? 'snapshot' : kind)));
  });

  test('deltas that a published base holds do not count', async () => {
    for (let change = 0; change < 3; change += 1) {
      fleet.write(fleet.a, 'k', `${change}`);
      await fleet.start(fleet.a, { onlyOnce: true }).ended();
    }
    fleet.startCompaction();
    await fleet.compactionsEnded();
    fleet.write(fleet.a, 'k', 'last');
    await fleet.start(fleet.a, { maxDeltas: 2, onlyOnce: true }).ended();
    expect(kinds()).toEqual(['snapshot', 'delta', 'delta', 'delta']);
  });

  test('the interval counts from the newest full snapshot in the bucket', async () => {
    fleet.write(fleet.a, 'k', '1');
    await fleet.start(fleet.a, { onlyOnce: true }).ended();
    const hourMs = 3_600_000;
    fleet.clock.advanceMs(3 * hourMs);
    fleet.write(fleet.a, 'k', '2');
    await fleet.start(fleet.a, { forceSnapshotIntervalMs: 4 * hourMs, onlyOnce: true }).ended();
    expect(kinds()).toEqual(['snapshot', 'delta']);
    fleet.clock.advanceMs(hourMs);
    fleet.write(fleet.a, 'k', '3');
    await fleet.start(fleet.a, { forceSnapshotIntervalMs: 4 * hourMs, onlyOnce: true }).ended();
    expect(kinds()).toEqual(['snapshot', 'delta', 'snapshot']);
  });
});

test('own objects that are gone from the bucket are sent again as a full snapshot', async () => {
  const run = await startedA();
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  fleet.write(fleet.a, 'k', '2');
  await fleet.until('the second object', () => fleet.stored().length === 2);
  const [, second = ''] = fleet.storedNames();
  await fleet.bucket.delete(second, new AbortController().signal);
  run.engine.noteListing();
  await fleet.until('the full snapshot', () => fleet.stored().length === 3);
  expect(fleet.stored()[2]).toBe('a.3 snapshot');
});

test('own objects that a lagging listing does not show yet are not sent again', async () => {
  const run = await startedA();
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  fleet.write(fleet.a, 'k', '2');
  await fleet.until('the second object', () => fleet.stored().length === 2);
  const hidden = new Set(fleet.storedNames());
  const list = fleet.bucket.list.bind(fleet.bucket);
  jest.spyOn(fleet.bucket, 'list').mockImplementation(async function* lagging(prefix, options) {
    for await (const info of list(prefix, options)) {
      if (!hidden.has(info.name)) {
        yield info;
      }
    }
  });
  for (let pass = 0; pass < 3; pass += 1) {
    run.engine.noteListing();
    await fleet.rest();
  }
  expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.2 delta']);

  // What is gone under its name, too, does not come with a later listing.
  const [, second = ''] = fleet.storedNames();
  await fleet.bucket.delete(second, new AbortController().signal);
  run.engine.noteListing();
  await fleet.until('the full snapshot', () => fleet.stored().length === 3);
  expect(fleet.stored()[2]).toBe('a.3 snapshot');
});

test('objects that a published base covers are not missed', async () => {
  const run = await startedA();
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  fleet.startCompaction();
  await fleet.compactionsEnded();
  fleet.startCompaction();
  await fleet.compactionsEnded();
  expect((await fleet.bucket.names()).map(shortName)).not.toContain('a.1 snapshot');
  run.engine.noteListing();
  await fleet.rest();
  expect(fleet.stored()).toEqual(['a.1 snapshot']);
});

test('what was merged from others is not sent', async () => {
  await startedA();
  const b = fleet.start(fleet.b);
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  b.engine.noteListing();
  await fleet.until('the merge', () => fleet.read(fleet.b, 'k') === '1');
  fleet.b.tellChange();
  await fleet.rest();
  fleet.write(fleet.b, 'k2', '2');
  await fleet.until('the object of B', () => fleet.stored().length === 2);
  fleet.write(fleet.b, 'k3', '3');
  await fleet.until('the delta of B', () => fleet.stored().length === 3);
  expect(fleet.stored()).toEqual(['a.1 snapshot', 'b.1 delta', 'b.2 delta']);
  const delta = [...fleet.ledger.objects.values()][2];
  expect([...(delta?.content.keys() ?? [])]).toEqual(['zones/k3']);
});

test('what changed while no agent ran reaches upstream readers, also when the start is rough', async () => {
  await startedA({ upstreamReaders: true });
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  await fleet.stop(fleet.a);
  fleet.write(fleet.a, 'k', '2');
  fleet.clock.advanceMs(60_000);
  // The first attempt to send it fails, and the first pass ends meanwhile.
  let failures = 1;
  fleet.databaseFails = (call) => call === 'encodeSnapshot' && failures-- > 0;
  await startedA({ upstreamReaders: true });
  await fleet.until('its object', () => fleet.stored().length >= 2);
  await fleet.rest();
  fleet.clock.advanceMs(60_000);
  fleet.a.run?.engine.noteListing();
  await fleet.rest();
  const snapshots = fleet.storedNames().filter((name) => /snapshot$|marked$/.test(shortName(name)));
  const content = fleet.ledger.objects.get(snapshots.at(-1) ?? '')?.content.get('zones/k');
  expect(Buffer.from(content?.value ?? '').toString()).toBe('2');
});

test('what a wiped host had in deltas alone reaches upstream readers without another change', async () => {
  await startedA({ upstreamReaders: true });
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  fleet.write(fleet.a, 'k', '2');
  await fleet.until('the delta', () => fleet.stored().includes('a.2 delta'));
  await fleet.crash(fleet.a);
  const before = fleet.stored().length;
  await fleet.a.replace(undefined);
  await startedA({ upstreamReaders: true });
  await fleet.until('another full snapshot', () => fleet.stored().length > before);
  const content = fleet.ledger.objects.get(fleet.storedNames().at(-1) ?? '')?.content;
  expect(Buffer.from(content?.get('zones/k')?.value ?? '').toString()).toBe('2');
});

test('where upstream reads, the end of a burst is in a full snapshot as soon as the interval allows', async () => {
  await startedA({
    upstreamReaders: true,
    upstreamSnapshotMinIntervalMs: 1000,
    persistIntervalMs: 1e9,
  });
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  fleet.write(fleet.a, 'k', '2');
  await fleet.until('the delta', () => fleet.stored().length === 2);
  await fleet.rest();
  fleet.clock.advanceMs(1000);
  await fleet.until('the full snapshot', () => fleet.stored().length === 3);
  expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.2 delta', 'a.3 marked']);
});

test('an agent that stops leaves upstream readers all of it, whatever the interval', async () => {
  await startedA({ upstreamReaders: true });
  fleet.write(fleet.a, 'k', '1');
  await fleet.until('the first object', () => fleet.stored().length === 1);
  fleet.write(fleet.a, 'k', '2');
  await fleet.until('the delta', () => fleet.stored().length === 2);
  await fleet.stop(fleet.a);
  expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.2 delta', 'a.3 marked']);
});
