import fs from 'node:fs';
import path from 'node:path';
import { hasPageOrder } from '../../../agent/lmdb/page-order.ts';
import { DataFile } from '../../../agent/lmdb/pages/data-file.ts';
import { LmdbHost } from '../../support/lmdb-host.ts';
import { Application, lastTxn } from '../../support/lmdb.ts';
import { SeededRandom } from '../../support/random.ts';

let host: LmdbHost;
let copy: string;

beforeEach(() => {
  host = new LmdbHost();
  copy = path.join(host.folder, 'copy.mdb');
});

afterEach(() => host.close());

function isOrdered(file: string): boolean {
  using data = DataFile.open(file);
  return hasPageOrder(data, data.readMeta());
}

/** Writes and merges in random order, as many as there are in a day of a small host. */
async function live(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const db = await host.start();
  for (let i = 0; i < 60; i += 1) {
    const key = `key-${random.below(40)}`;
    if (random.below(3) > 0) {
      const value = 'x'.repeat(random.below(9000));
      host.application.put(`dbi-${random.below(3)}`, key, { value, ts: i + 1 });
    } else {
      await host.merge(db, key, { value: 'theirs', ts: i + 1, seq: BigInt(i) });
    }
    if (random.below(4) === 0) {
      await host.sendDelta(db);
    }
  }
  await db.persist({ vector: new Map() });
  await host.kill(db);
}

test.each([1, 2, 3, 4, 5, 6, 7, 8])(
  'our pages stand in an order that a copy keeps, and a compacted copy does not (seed %i)',
  async (seed) => {
    await live(seed);
    expect(isOrdered(host.file)).toBe(true);
    fs.copyFileSync(host.file, copy);
    expect(isOrdered(copy)).toBe(true);
    fs.rmSync(copy);
    await host.application.copyCompact(copy);
    expect(isOrdered(copy)).toBe(false);
  },
);

/** Replaces the LMDB by a compacted copy, whose application then commits until its count is `count`. */
async function compact(count: number): Promise<void> {
  await host.application.copyCompact(copy);
  await host.replaceFile(() => {
    fs.rmSync(`${host.file}-lock`, { force: true });
    fs.renameSync(copy, host.file);
  });
  for (let i = 0; lastTxn(host.file) < count; i += 1) {
    host.application.put('zones', `new-${i}`, { value: 'after the copy', ts: 100 });
  }
}

test.each([-3, 0, 1, 20])(
  'all that was committed to a compacted copy is sent, when its count is %i past the marker',
  async (past) => {
    const db = await host.start();
    for (let i = 0; i < 10; i += 1) {
      host.application.put('zones', `old-${i}`, { value: 'before', ts: 10 });
    }
    await host.sendAll(db);
    await host.merge(db, 'theirs', { value: 'merged', ts: 20 });
    await host.kill(db);
    const marker = lastTxn(host.file);
    await compact(marker + past);
    const keys = Object.keys(host.zones()).filter((key) => key.startsWith('new-'));
    const { db: again, result } = await host.opened({ run: 'runb' });
    expect(result.uploadedTxn).toBeUndefined();
    expect(Object.keys((await host.sendDelta(again)).zones ?? {})).toEqual(
      expect.arrayContaining(keys),
    );
  },
);

test('ids of merges of another count hide no change of a host that has never sent anything', async () => {
  const db = await host.start();
  for (let i = 0; i < 10; i += 1) {
    await host.merge(db, `theirs-${i}`, { value: 'merged', ts: 20, seq: BigInt(i + 1) });
  }
  await host.kill(db);
  await compact(lastTxn(host.file) + 2);
  const keys = Object.keys(host.zones()).filter((key) => key.startsWith('new-'));
  const again = await host.start({ run: 'runb' });
  expect(Object.keys((await host.sendDelta(again)).zones ?? {})).toEqual(
    expect.arrayContaining(keys),
  );
});

test.each([
  ['the same file', () => undefined],
  [
    'a copy of it, with another inode, as after a restore from another disk',
    () => {
      fs.copyFileSync(host.file, copy);
      fs.renameSync(copy, host.file);
    },
  ],
])('a start on %s sends nothing twice', async (_what, replace) => {
  host.application.put('zones', 'a', { value: '1', ts: 10 });
  const db = await host.start();
  await host.sendAll(db);
  await host.merge(db, 'theirs', { value: 'merged', ts: 20 });
  await host.kill(db);
  await host.replaceFile(replace);
  const { db: again, result } = await host.opened({ run: 'runb' });
  expect(result).toMatchObject({ uploadedTxn: 1, pendingKeys: 0, pendingScan: false });
  expect(await host.sendDelta(again)).toEqual({});
});

test('a compacted copy that is written over the file in place is noticed, whatever its count', async () => {
  const db = await host.start();
  for (let i = 0; i < 10; i += 1) {
    host.application.put('zones', `old-${i}`, { value: 'before', ts: 10 });
  }
  await host.sendAll(db);
  await db.detect();
  await host.application.copyCompact(copy);
  const other = new Application(copy);
  while (lastTxn(copy) < lastTxn(host.file) + 20) {
    other.put('zones', `new-${lastTxn(copy)}`, { value: 'x'.repeat(3000), ts: 100 });
  }
  await other.close();
  await host.application.close();
  fs.writeFileSync(host.file, fs.readFileSync(copy), { flag: 'r+' });
  await expect(db.detect()).rejects.toMatchObject({ code: 'ENVIRONMENT_REPLACED' });
  host.application = new Application(host.file);
  expect(await db.reopen({ run: 'runb' })).toMatchObject({ uploadedTxn: undefined });
  const sent = Object.keys((await host.sendDelta(db)).zones ?? {});
  expect(sent.filter((key) => key.startsWith('new-'))).toHaveLength(
    Object.keys(host.zones()).length - 10,
  );
});
