import fs from 'node:fs';

import { ChangeDetector } from '../../../agent/lmdb/change-detector.ts';
import type { ChangeDetectorOptions } from '../../../agent/lmdb/change-detector.ts';
import type { SyncError } from '../../../protocol/errors.ts';
import { openTestLmdb } from '../../support/lmdb-writer/env.ts';
import type { TestLmdb } from '../../support/lmdb-writer/env.ts';

let lmdb: TestLmdb;
beforeEach(() => {
  lmdb = openTestLmdb();
});
afterEach(async () => {
  await lmdb.close();
});

/** Polls and events that come when the test says so. */
function controlled(overrides: Partial<ChangeDetectorOptions> = {}) {
  const seen: number[] = [];
  const problems: (SyncError | undefined)[] = [];
  const pending: (() => void)[] = [];
  let poll: (() => void) | undefined;
  let event: (() => void) | undefined;
  const detector = new ChangeDetector({
    path: lmdb.path,
    pollIntervalMs: 1000,
    onChange: (txnId) => seen.push(txnId),
    onProblem: (problem) => problems.push(problem),
    watchFile: (_path, onEvent) => {
      event = onEvent;
      return {
        close: () => {
          event = undefined;
        },
      };
    },
    timers: {
      every: (_ms, callback) => {
        poll = callback;
        return () => {
          poll = undefined;
        };
      },
      soon: (callback) => pending.push(callback),
    },
    ...overrides,
  });
  const flush = (): number => pending.splice(0).map((callback) => callback()).length;
  return { detector, seen, problems, flush, poll: () => poll?.(), event: () => event?.() };
}

function commit(): void {
  lmdb.env.putSync(Buffer.from('key'), Buffer.from(String(Math.random())));
}

test('the poll finds a new transaction, and says nothing while there is none', () => {
  const { detector, seen, poll } = controlled();
  detector.start();
  const [first] = seen;
  poll();
  expect(seen).toEqual([first]);
  commit();
  poll();
  expect(seen).toEqual([first, first! + 1]);
  detector.close();
});

test('many events at once are one check', () => {
  const { detector, seen, event, flush } = controlled();
  detector.start();
  commit();
  event();
  event();
  event();
  expect(flush()).toBe(1);
  expect(seen).toHaveLength(2);
  detector.close();
});

test('a transaction that the caller knows is not reported', () => {
  const { detector, seen, poll } = controlled();
  detector.start();
  commit();
  detector.markSeen(seen[0]! + 1);
  poll();
  expect(seen).toHaveLength(1);
  detector.close();
});

test('nothing is called after close, though an event was on its way', () => {
  const { detector, seen, event, flush } = controlled();
  detector.start();
  commit();
  event();
  detector.close();
  flush();
  expect(seen).toHaveLength(1);
});

test('a file that does not exist yet is a problem until it does', () => {
  const path = `${lmdb.path}.later`;
  const { detector, seen, problems, poll } = controlled({ path });
  detector.start();
  poll();
  expect(problems.map((problem) => problem?.code)).toEqual(['ENVIRONMENT_UNREADABLE']);
  fs.copyFileSync(lmdb.path, path);
  poll();
  expect(problems).toHaveLength(2);
  expect(problems[1]).toBeUndefined();
  expect(seen).toHaveLength(1);
  expect(detector.isWatching).toBe(true);
  detector.close();
});

test('a file that takes the place of the old one is read and reported at the next poll, though its ids are lower', () => {
  fs.copyFileSync(lmdb.path, `${lmdb.path}.early`);
  commit();
  fs.copyFileSync(lmdb.path, `${lmdb.path}.copy`);
  const { detector, seen, poll } = controlled({ path: `${lmdb.path}.copy` });
  detector.start();
  fs.renameSync(`${lmdb.path}.early`, `${lmdb.path}.copy`);
  poll();
  expect(seen).toHaveLength(2);
  expect(seen[1]).toBeLessThan(seen[0]!);
  detector.close();
});

/** A copy of the LMDB, watched, and an older state of it. */
function replaceable() {
  const path = `${lmdb.path}.copy`;
  const backup = `${lmdb.path}.backup`;
  commit();
  fs.copyFileSync(lmdb.path, backup);
  commit();
  fs.copyFileSync(lmdb.path, path);
  let replaced = 0;
  const watched = controlled({
    path,
    onReplaced: () => {
      replaced += 1;
    },
  });
  watched.detector.start();
  watched.poll();
  return { ...watched, path, backup, count: () => replaced };
}

test.each([
  ['is renamed over it', (path: string, backup: string) => fs.renameSync(backup, path)],
  [
    'is copied over it in place',
    (path: string, backup: string) => fs.writeFileSync(path, fs.readFileSync(backup)),
  ],
  ['is not there yet', (path: string) => fs.rmSync(path)],
])('whoever has it open is told at the next poll where another file %s', (_how, replace) => {
  const { detector, path, backup, count, poll } = replaceable();
  expect(count()).toBe(0);
  replace(path, backup);
  poll();
  expect(count()).toBe(1);
  detector.close();
});

test('a file that could not be read for a moment may be another one', () => {
  const { detector, path, count, seen, poll } = replaceable();
  const bytes = fs.readFileSync(path);
  fs.writeFileSync(path, '');
  poll();
  fs.writeFileSync(path, bytes);
  poll();
  expect(count()).toBe(1);
  expect(seen).toHaveLength(2);
  detector.close();
});

test('commits alone never count as another file', () => {
  let replaced = 0;
  const { detector, poll } = controlled({
    onReplaced: () => {
      replaced += 1;
    },
  });
  detector.start();
  for (let i = 0; i < 5; i += 1) {
    commit();
    poll();
  }
  expect(replaced).toBe(0);
  detector.close();
});

test('where watching is impossible, the poll is enough, and watching is tried again', () => {
  let mayWatch = false;
  const { detector, seen, poll } = controlled({
    watchFile: () => {
      if (!mayWatch) {
        throw new Error('ENOSPC');
      }
      return { close: () => {} };
    },
  });
  detector.start();
  commit();
  poll();
  expect(seen).toHaveLength(2);
  expect(detector.isWatching).toBe(false);
  mayWatch = true;
  poll();
  expect(detector.isWatching).toBe(true);
  detector.close();
});

test('a file that turns to garbage is a problem, not a crash', () => {
  const path = `${lmdb.path}.copy`;
  fs.copyFileSync(lmdb.path, path);
  const { detector, problems, poll } = controlled({ path });
  detector.start();
  fs.writeFileSync(path, Buffer.alloc(8192, 7));
  poll();
  expect(problems.at(-1)?.message).toMatch(/not an LMDB data file/);
  fs.writeFileSync(path, '');
  poll();
  expect(problems.at(-1)?.message).toMatch(/ends at byte 0/);
  detector.close();
});

test('with the real watch a commit is reported without a poll', async () => {
  const reported = await new Promise<number>((resolve) => {
    const detector = new ChangeDetector({
      path: lmdb.path,
      pollIntervalMs: 3_600_000,
      onChange: (txnId) => {
        if (firstTxnId === undefined) {
          firstTxnId = txnId;
        } else {
          detector.close();
          resolve(txnId - firstTxnId);
        }
      },
    });
    let firstTxnId: number | undefined;
    detector.start();
    commit();
  });
  expect(reported).toBe(1);
});
