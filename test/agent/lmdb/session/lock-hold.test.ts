import { Environment } from '../../../../agent/lmdb/environment.ts';
import { STAMPS_WITH_MERGE, WRITES_PER_CLOCK_LOOK } from '../../../../agent/lmdb/limits.ts';
import type { LocalDatabase } from '../../../../agent/lmdb/local-database.ts';
import { dumpRaw, objectSpool } from '../../../support/lmdb.ts';
import { LmdbHost, REMOTE_STREAM } from '../../../support/lmdb-host.ts';
import { dumpText, ShadowHost } from '../../../support/shadow.ts';

// How long a transaction of ours holds the write lock, whatever the application has committed just before. Time is
// counted in looks at the clock: each takes a millisecond, and one comes before every page that is read.

const MAX_LOCK_HOLD_MS = 60;
/** About a hundred pages. */
const MANY = 6000;

afterEach(() => jest.restoreAllMocks());

/**
 * What the transactions held from now on, in looks at the clock and pages read. `beforeLock` runs before each of them:
 * the application commits at the last moment.
 */
function watchLocks(beforeLock: (count: number) => void): { looks: number; pages: number }[] {
  const held: { looks: number; pages: number }[] = [];
  let nowMs = 0;
  let count = 0;
  jest.spyOn(performance, 'now').mockImplementation(() => (nowMs += 1));
  type Work = (txn: unknown) => unknown;
  type AnyWrite = (this: Environment, work: Work) => never;
  const { write } = Environment.prototype as unknown as { write: AnyWrite };
  jest.spyOn(Environment.prototype, 'write').mockImplementation(function watched(
    this: Environment,
    work: Work,
  ) {
    count += 1;
    beforeLock(count);
    return write.call(this, (txn) => {
      const [fromMs, fromPages] = [nowMs, this.file.pagesRead];
      try {
        return work(txn);
      } finally {
        held.push({ looks: nowMs - fromMs, pages: this.file.pagesRead - fromPages });
      }
    });
  } as typeof Environment.prototype.write);
  return held;
}

/** Does it before the first transaction only. */
function once(work: () => void): (count: number) => void {
  return (count) => {
    if (count === 1) {
      work();
    }
  };
}

function requireBounded(held: readonly { looks: number; pages: number }[]): void {
  expect(held.length).toBeGreaterThan(0);
  for (const { looks, pages } of held) {
    expect(looks).toBeLessThanOrEqual(MAX_LOCK_HOLD_MS);
    // Of a diff that was broken off, and what a handful of keys needs.
    expect(pages).toBeLessThanOrEqual(MAX_LOCK_HOLD_MS);
  }
}

describe('native', () => {
  let host: LmdbHost;

  beforeEach(() => {
    host = new LmdbHost();
  });

  afterEach(() => host.close());

  function importMany(value: string, ts: number): void {
    host.application.write((txn) => {
      for (let i = 0; i < MANY; i += 1) {
        txn.put('zones', `import-${i}`, { value, ts });
      }
    });
  }

  async function started(): Promise<LocalDatabase> {
    host.application.put('zones', 'a', { value: 'local', ts: 100 });
    importMany('first', 100);
    const db = await host.start({ maxLockHoldMs: MAX_LOCK_HOLD_MS });
    await host.sendAll(db);
    return db;
  }

  test('an import that commits before the lock is won is looked through without the lock', async () => {
    const db = await started();
    const held = watchLocks(once(() => importMany('second', 200)));
    const merged = await host.merge(db, 'a', { value: 'merged', ts: 300 });
    expect(merged).toMatchObject({ changed: 1, transactions: 1 });
    requireBounded(held);
    // Given back once, then won with everything known.
    expect(held).toHaveLength(2);
    expect(await db.detect()).toMatchObject({ pendingKeys: MANY });
    expect(host.zones().a).toMatchObject({ value: 'merged', ts: 300n });
  });

  test('a merge comes to its end beside an application that imports without a pause', async () => {
    const db = await started();
    let imports = 0;
    const held = watchLocks((count) => {
      imports = count;
      importMany(`import ${count}`, 200 + count);
    });
    const merged = await host.merge(db, 'a', { value: 'merged', ts: 300 });
    expect(merged).toMatchObject({ changed: 1, transactions: 1 });
    expect(imports).toBeGreaterThan(3);
    requireBounded(held);
    jest.restoreAllMocks();
    expect(host.zones().a).toMatchObject({ value: 'merged', ts: 300n });
    expect(await db.detect()).toMatchObject({ pendingKeys: MANY, regressions: 0 });
  });

  describe('where the application has written the very key, unseen', () => {
    /** Merges `a`, while each import also does this. */
    async function mergeBeside(
      ts: number,
      work: (count: number) => void,
    ): Promise<{ db: LocalDatabase; changed: number }> {
      const db = await started();
      watchLocks((count) => {
        if (count <= 8) {
          importMany(`import ${count}`, 200 + count);
          work(count);
        }
      });
      const { changed } = await host.merge(db, 'a', { value: 'merged', ts });
      jest.restoreAllMocks();
      return { db, changed };
    }

    test('a newer value stays and is sent', async () => {
      const newer = () => host.application.put('zones', 'a', { value: 'newer', ts: 400 });
      const { db, changed } = await mergeBeside(300, newer);
      expect(changed).toBe(0);
      expect((await host.sendDelta(db)).zones).toMatchObject({ a: 'newer@400' });
    });

    /** Seen by the diffs, and what each transaction of ours starts from. */
    function inTurn(seen: () => void, unseen: () => void): (count: number) => void {
      return (count) => (count % 2 === 1 ? seen() : unseen());
    }

    const seen = () => host.application.put('zones', 'a', { value: 'seen', ts: 200 });

    test('an older value is replaced by what it had replaced, where that is above the merged one', async () => {
      const older = () => host.application.put('zones', 'a', { value: 'older', ts: 50 });
      const { db } = await mergeBeside(150, inTurn(seen, older));
      expect(host.zones().a).toMatchObject({ value: 'seen', ts: 200n });
      expect((await host.sendDelta(db)).zones).toMatchObject({ a: 'seen@200' });
    });

    test('a removed key ends with the winner of both', async () => {
      const remove = () => host.application.remove('zones', 'a');
      const { db } = await mergeBeside(150, inTurn(seen, remove));
      expect(host.zones().a).toMatchObject({ value: 'seen', ts: 200n });
      expect((await host.sendDelta(db)).zones).toMatchObject({ a: 'seen@200' });
    });

    test('a dropped DBI comes back with all that it had', async () => {
      const { db } = await mergeBeside(300, () =>
        host.application.write((txn) => txn.drop('zones')),
      );
      expect(host.zones().a).toMatchObject({ value: 'merged', ts: 300n });
      await db.detect();
      expect(Object.keys(host.zones())).toHaveLength(MANY + 1);
    });
  });

  test('very many entries that are to be put back go in transactions of their own', async () => {
    const db = await started();
    const held = watchLocks(once(() => host.application.write((txn) => txn.drop('zones'))));
    await host.merge(db, 'b', { value: 'merged', ts: 300 });
    for (const { looks } of held) {
      expect(looks).toBeLessThanOrEqual(MAX_LOCK_HOLD_MS);
    }
    // None of them has put back more than its share of looks allows.
    const perLook = WRITES_PER_CLOCK_LOOK;
    expect(held.length).toBeGreaterThan(MANY / (MAX_LOCK_HOLD_MS * perLook));
    jest.restoreAllMocks();
    await db.detect();
    expect(Object.keys(host.zones())).toHaveLength(MANY + 2);
    expect(MANY).toBeGreaterThan(STAMPS_WITH_MERGE);
  });

  test('very many that only a look finds are put back in short transactions, too', async () => {
    const db = await started();
    const held = watchLocks(() => {});
    host.application.write((txn) => txn.drop('zones'));
    await db.detect();
    for (const { looks } of held) {
      expect(looks).toBeLessThanOrEqual(MAX_LOCK_HOLD_MS);
    }
    jest.restoreAllMocks();
    await db.detect();
    expect(Object.keys(host.zones())).toHaveLength(MANY + 1);
  });

  test('the vector of a base is written in short transactions', async () => {
    const db = await started();
    const vector = new Map([...Array(5000).keys()].map((i) => [`m.run${i}` as never, 1n]));
    const held = watchLocks(() => {});
    const spool = objectSpool({ zones: { entries: { a: { value: 'merged', ts: 300 } } } });
    await db.merge({ name: 'base', spool, vector });
    await db.persist({ vector: new Map([[REMOTE_STREAM, 2n]]) });
    expect(held.length).toBeGreaterThan(9);
    await host.kill(db);
    const { result } = await host.opened({ run: 'runb' });
    expect(result.vector).toEqual(new Map([...vector, [REMOTE_STREAM, 2n]]));
  });

  test('ids of merges do not pile up on a host that sends nothing while its application writes', async () => {
    const db = await host.start();
    for (let i = 0; i < 1010; i += 1) {
      host.application.put('zones', 'local', { value: `${i}`, ts: 1000 + i });
      await host.merge(db, 'a', { value: `${i}`, ts: 1000 + i, seq: BigInt(i + 1) });
    }
    const ids = Object.keys(dumpRaw(host.file)._sync_state ?? {}).filter((key) =>
      key.startsWith('merged/'),
    );
    expect(ids.length).toBeLessThanOrEqual(1000);
  });
});

describe('shadow', () => {
  let host: ShadowHost;

  beforeEach(() => {
    host = new ShadowHost();
  });

  afterEach(() => host.close());

  test('a merge comes to its end beside an application that imports without a pause', async () => {
    host.application.put('r', 'a', 'local');
    const db = await host.start({ maxLockHoldMs: MAX_LOCK_HOLD_MS });
    await host.sendDelta(db);
    const held = watchLocks((count) => {
      // More transactions than a merge takes: those in between stamp what is behind.
      if (count > 40) {
        return;
      }
      host.application.write((txn) => {
        for (let i = 0; i < 5000; i += 1) {
          txn.put('r', `import-${i}`, `${count}`);
        }
        txn.put('r', 'b', `mine ${count}`);
      });
    });
    const ts = host.now + 1000n;
    const entries = { a: { value: 'merged', ts }, b: { value: 'theirs', ts: 1n } };
    await host.merge(db, { r: { entries } });
    for (const { looks } of held) {
      expect(looks).toBeLessThanOrEqual(MAX_LOCK_HOLD_MS);
    }
    jest.restoreAllMocks();
    const { r = {} } = dumpText(host.file);
    expect(r.a).toBe('merged');
    expect(r.b).toMatch(/^mine/);
  });
});
