import { FullSnapshotPolicy } from '../../../agent/engine/publish/full-snapshot-policy.ts';
import { Semaphore } from '../../../agent/pacing/semaphore.ts';
import { TokenBucket } from '../../../agent/pacing/token-bucket.ts';
import { Wakeup } from '../../../agent/pacing/wakeup.ts';
import { engineSettings } from '../../support/engine.ts';
import { FakeClock } from '../../support/fake-clock.ts';

describe('TokenBucket', () => {
  test('gives the burst at once and then one per interval', () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ intervalMs: 1000, burst: 3, clock });
    for (let taken = 0; taken < 3; taken += 1) {
      expect(bucket.waitMs()).toBe(0);
      bucket.take();
    }
    expect(bucket.waitMs()).toBe(1000);
    clock.advanceMs(400);
    expect(bucket.waitMs()).toBe(600);
    clock.advanceMs(600);
    expect(bucket.waitMs()).toBe(0);
  });

  test('never holds more than the burst', () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ intervalMs: 1000, burst: 2, clock });
    clock.advanceMs(3_600_000);
    bucket.take();
    bucket.take();
    expect(bucket.waitMs()).toBe(1000);
  });

  test('an interval of 0 is no bound', () => {
    const bucket = new TokenBucket({ intervalMs: 0, burst: 1, clock: new FakeClock() });
    for (let taken = 0; taken < 100; taken += 1) {
      bucket.take();
    }
    expect(bucket.waitMs()).toBe(0);
  });

  test('a clock that steps back neither blocks nor crashes it', () => {
    const clock = new FakeClock();
    const bucket = new TokenBucket({ intervalMs: 1000, burst: 1, clock });
    bucket.take();
    clock.advanceMs(-60_000);
    expect(bucket.waitMs()).toBe(1000);
    clock.advanceMs(1000);
    expect(bucket.waitMs()).toBe(0);
  });
});

describe('Semaphore', () => {
  const { signal } = new AbortController();

  test('lets in as many as its limit, the others in their order', async () => {
    const semaphore = new Semaphore(1);
    const release = await semaphore.acquire(signal);
    const order: string[] = [];
    const second = semaphore.acquire(signal).then((give) => (order.push('second'), give()));
    const third = semaphore.acquire(signal).then((give) => (order.push('third'), give()));
    expect(semaphore.waiting).toBe(2);
    release();
    await Promise.all([second, third]);
    expect(order).toEqual(['second', 'third']);
    expect(semaphore.held).toBe(0);
  });

  test('giving back twice gives one place', async () => {
    const semaphore = new Semaphore(1);
    const release = await semaphore.acquire(signal);
    release();
    release();
    await semaphore.acquire(signal);
    expect(semaphore.held).toBe(1);
  });

  test('an aborted waiter leaves the line', async () => {
    const semaphore = new Semaphore(1);
    const release = await semaphore.acquire(signal);
    const stop = new AbortController();
    const waiting = semaphore.acquire(stop.signal);
    stop.abort(new Error('stopped'));
    await expect(waiting).rejects.toThrow('stopped');
    release();
    expect(semaphore.held).toBe(0);
  });
});

describe('Wakeup', () => {
  const never = (_ms: number, signal: AbortSignal) =>
    new Promise<void>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    });

  test('a notice before the wait is not lost', async () => {
    const wakeup = new Wakeup();
    wakeup.notify();
    const { signal } = new AbortController();
    await expect(wakeup.wait(signal, Number.POSITIVE_INFINITY, never)).resolves.toBeUndefined();
  });

  test('one notice ends one wait', async () => {
    const wakeup = new Wakeup();
    const { signal } = new AbortController();
    wakeup.notify();
    await wakeup.wait(signal, 1e6, never);
    let woken = false;
    const second = wakeup.wait(signal, 1e6, never).then(() => (woken = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(woken).toBe(false);
    wakeup.notify();
    await second;
  });

  test.each([1e6, Number.POSITIVE_INFINITY])(
    'wakes by a notice and by abort, limit %p',
    async (limit) => {
      const wakeup = new Wakeup();
      const stop = new AbortController();
      const noticed = wakeup.wait(stop.signal, limit, never);
      wakeup.notify();
      await expect(noticed).resolves.toBeUndefined();
      const aborted = wakeup.wait(stop.signal, limit, never);
      stop.abort(new Error('stopped'));
      await expect(aborted).resolves.toBeUndefined();
    },
  );

  test('wakes by time', async () => {
    const { signal } = new AbortController();
    await expect(new Wakeup().wait(signal, 5, () => Promise.resolve())).resolves.toBeUndefined();
  });
});

describe('FullSnapshotPolicy', () => {
  const make = (overrides: Parameters<typeof engineSettings>[0] = {}) => {
    const clock = new FakeClock();
    return { clock, policy: new FullSnapshotPolicy(engineSettings(overrides), clock) };
  };

  test('the first object is a full snapshot until one is stored', () => {
    const { policy } = make();
    policy.requireFirst();
    expect(policy.dueReason(1)).toBe('first object');
    policy.fullStored(1000, 1);
    expect(policy.dueReason(1)).toBeUndefined();
  });

  test('becomes due after many deltas, counted anew from a published base', () => {
    const { policy } = make({ maxDeltas: 3 });
    for (let stored = 0; stored < 3; stored += 1) {
      policy.deltaStored(100);
    }
    expect(policy.dueReason(9)).toBe('many deltas');
    policy.coveredByBase(1);
    expect(policy.dueReason(9)).toBeUndefined();
  });

  test('becomes due by the bytes of deltas, those of earlier runs included', () => {
    const { policy } = make({ maxDeltaFraction: 0.5 });
    const full = { timeNs: 1n, sizeBytes: 2_000_000 };
    policy.noteEarlier({ full, deltas: 2, deltaBytes: 900_000 });
    policy.deltaStored(100_000);
    expect(policy.dueReason(9)).toBeUndefined();
    policy.deltaStored(1);
    expect(policy.dueReason(9)).toBe('many deltas');
    policy.fullStored(2_000_000, 9);
    // A listing that began before it.
    policy.noteEarlier({ full, deltas: 2, deltaBytes: 9_000_000 });
    expect(policy.dueReason(9)).toBeUndefined();
  });

  test('a full snapshot with a name from the future does not put the next one off', () => {
    const { policy, clock } = make({ forceSnapshotIntervalMs: 60_000 });
    const full = { timeNs: clock.nowNs() + 10n ** 18n, sizeBytes: 1 };
    policy.noteEarlier({ full, deltas: 0, deltaBytes: 0 });
    clock.advanceMs(60_000);
    expect(policy.dueReason(1)).toBe('interval');
  });

  test('becomes due by time, and tells when', () => {
    const { policy, clock } = make({ forceSnapshotIntervalMs: 60_000 });
    clock.advanceMs(59_000);
    expect(policy.dueReason(1)).toBeUndefined();
    expect(policy.nextCheckMs(1)).toBe(1000);
    clock.advanceMs(1000);
    expect(policy.dueReason(1)).toBe('interval');
  });

  test('where upstream reads, whatever changed the data makes one due, at a bounded rate', () => {
    const { policy, clock } = make({
      upstreamReaders: true,
      upstreamSnapshotMinIntervalMs: 10_000,
    });
    expect(policy.dueReason(5)).toBe('upstream readers');
    policy.fullStored(1000, 5);
    expect(policy.dueReason(5)).toBeUndefined();
    expect(policy.dueReason(6)).toBeUndefined();
    expect(policy.nextCheckMs(6)).toBe(10_000);
    clock.advanceMs(10_000);
    expect(policy.dueReason(6)).toBe('upstream readers');
  });

  test('without upstream readers a change alone needs no full snapshot', () => {
    const { policy } = make();
    expect(policy.dueReason(5)).toBeUndefined();
  });
});
