import { LockBudget } from '../../../../agent/lmdb/merge/lock-budget.ts';

const MAX_LOCK_HOLD_MS = 100;
let nowMs = 0;

beforeEach(() => {
  nowMs = 1000;
  jest.spyOn(performance, 'now').mockImplementation(() => nowMs);
});

afterEach(() => jest.restoreAllMocks());

/** One transaction: writes as many pages as the budget allows, in no time, and takes so long to commit each. */
function transaction(budget: LockBudget, { pageMs }: { pageMs: number }): number {
  budget.begin(nowMs);
  let pages = 1;
  while (!budget.isSpent(pages)) {
    pages += 1;
  }
  budget.endWriting();
  nowMs += pages * pageMs;
  budget.learn(pages * pageMs);
  return pages;
}

test('what a transaction did before it wrote anything counts, too', () => {
  const budget = new LockBudget(MAX_LOCK_HOLD_MS);
  budget.begin(nowMs);
  expect(budget.isSpent(1)).toBe(false);
  nowMs += MAX_LOCK_HOLD_MS * 0.7;
  expect(budget.isSpent(1)).toBe(true);
});

test('before any commit was seen a disk of 200 MB a second is planned with', () => {
  const pages = transaction(new LockBudget(MAX_LOCK_HOLD_MS), { pageMs: 0.01 });
  expect(pages).toBeGreaterThan(2500);
  expect(pages).toBeLessThan(3500);
});

test('after one slow commit the next ones fit, and go on being careful for a while', () => {
  const budget = new LockBudget(MAX_LOCK_HOLD_MS);
  transaction(budget, { pageMs: 1 });
  for (let round = 0; round < 5; round += 1) {
    const pages = transaction(budget, { pageMs: 1 });
    expect(pages).toBeLessThan(MAX_LOCK_HOLD_MS);
  }
});

test('on a fast disk transactions grow', () => {
  const budget = new LockBudget(MAX_LOCK_HOLD_MS);
  const first = transaction(budget, { pageMs: 0.001 });
  for (let round = 0; round < 20; round += 1) {
    transaction(budget, { pageMs: 0.001 });
  }
  expect(transaction(budget, { pageMs: 0.001 })).toBeGreaterThan(4 * first);
});
