import type { Limit } from '../pacing/semaphore.ts';
import type { Loop } from './watchdog.ts';

/** The same limit; a loop that waits for a place is due. `what` ends "waits for …". */
export function watchedLimit(limit: Limit, loop: Loop, what: string): Limit {
  return {
    limit: limit.limit,
    acquire: (signal) => loop.during(what, () => limit.acquire(signal)),
  };
}
