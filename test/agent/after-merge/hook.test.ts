import { AfterMergeHook, TOUCHED_KEYS_MAX } from '../../../agent/after-merge/hook.ts';
import type { Changes } from '../../../agent/after-merge/changes.ts';
import { createLogger } from '../../../agent/log/log.ts';

const log = createLogger({ level: 'fatal', format: 'json', timestamp: 'disable' });
const keys = (...names: string[]) => new Map([['records', new Set(names)]]);

/** A hook whose runs end when the test says so. */
function slowHook(outcomes: ('ok' | 'failed')[] = []) {
  const runs: { changes: Changes; end: () => void }[] = [];
  const pauses: number[] = [];
  let nowMs = 0;
  const hook = new AfterMergeHook({
    name: 'test',
    run: async (changes) => {
      await new Promise<void>((end) => runs.push({ changes, end }));
      if (outcomes.shift() === 'failed') {
        throw new Error('no');
      }
    },
    timeoutMs: 10_000,
    minIntervalMs: 100,
    observer: { ran: () => undefined },
    log,
    now: () => nowMs,
    sleep: async (ms) => {
      pauses.push(ms);
      nowMs += ms;
    },
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return { hook, runs, pauses, settle };
}

test('what is merged while a hook runs is one more run, never two at once', async () => {
  const { hook, runs, settle, pauses } = slowHook();
  hook.note('shard', keys('a'));
  await settle();
  expect(runs).toHaveLength(1);
  hook.note('shard', keys('b'));
  hook.note('shard', keys('c', 'b'));
  hook.note('main', 'many');
  await settle();
  expect(runs).toHaveLength(1);
  runs[0]?.end();
  await settle();
  expect(runs).toHaveLength(2);
  expect(runs[1]?.changes).toEqual(
    new Map<string, unknown>([
      ['shard', keys('b', 'c')],
      ['main', 'many'],
    ]),
  );
  expect(pauses).toEqual([100]);
  runs[1]?.end();
  await hook.close();
  expect(runs).toHaveLength(2);
});

test('a failed run is tried again with what came since, and is a warning until it works', async () => {
  const { hook, runs, settle } = slowHook(['failed', 'ok']);
  hook.note('shard', keys('a'));
  await settle();
  hook.note('shard', keys('b'));
  runs[0]?.end();
  await settle();
  expect(hook.checks()).toMatchObject([{ name: 'after_merge_test_failed', level: 'warning' }]);
  expect(runs[1]?.changes).toEqual(new Map([['shard', keys('b', 'a')]]));
  runs[1]?.end();
  await settle();
  expect(hook.checks()).toEqual([]);
  await hook.close();
  expect(runs).toHaveLength(2);
});

test('a hook that never works is given up after a minute, until the next merge', async () => {
  const { hook, runs, settle } = slowHook(Array.from({ length: 100 }, () => 'failed' as const));
  hook.note('shard', 'many');
  for (let i = 0; i < 50; i += 1) {
    await settle();
    runs[i]?.end();
  }
  await settle();
  const given = runs.length;
  expect(given).toBeLessThan(20);
  hook.note('shard', 'many');
  await settle();
  expect(runs).toHaveLength(given + 1);
  runs.at(-1)?.end();
});

test('a merge that changed nothing runs nothing; very many keys are remembered as many', async () => {
  const { hook, runs, settle } = slowHook();
  hook.note('shard', new Map());
  await settle();
  expect(runs).toHaveLength(0);
  hook.note('main', 'many');
  await settle();
  hook.note('shard', keys(...Array.from({ length: TOUCHED_KEYS_MAX + 1 }, (_, i) => String(i))));
  runs[0]?.end();
  await settle();
  expect(runs[1]?.changes.get('shard')).toBe('many');
  runs[1]?.end();
  await hook.close();
});
