import type { SyncObserver } from '../../../agent/engine/observer.ts';
import { SyncObservers } from '../../../agent/monitor/sync-observers.ts';

test('every event reaches all observers that want it, in their order and with all that it says', () => {
  const told: string[] = [];
  const all = (name: string) =>
    new Proxy(
      {},
      {
        get:
          (_, event) =>
          (...args: unknown[]) =>
            told.push(`${name} ${String(event)} ${args.join()}`),
      },
    ) as SyncObserver;
  const observers = new SyncObservers([all('first'), {}, all('last')]);
  const events = Object.getOwnPropertyNames(SyncObservers.prototype).filter(
    (name) => name !== 'constructor',
  ) as (keyof SyncObserver)[];
  for (const event of events) {
    (observers[event] as (...args: unknown[]) => void)('a', 'b');
  }
  expect(events).toContain('merged');
  expect(told).toEqual(events.flatMap((event) => [`first ${event} a,b`, `last ${event} a,b`]));
});
