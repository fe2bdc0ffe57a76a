import fc from 'fast-check';

import { backoff } from '../../../agent/pacing/backoff.ts';

test('pauses grow to the bound and start over after a success', () => {
  const delays = backoff({ minMs: 100, maxMs: 1000, random: () => 1 - Number.EPSILON });
  const rounded = () => Math.round(delays.next());
  expect([rounded(), rounded(), rounded(), rounded(), rounded(), rounded()]).toEqual([
    100, 200, 400, 800, 1000, 1000,
  ]);
  delays.reset();
  expect(rounded()).toBe(100);
});

test('every pause is between half its bound and its bound', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.integer({ min: 1, max: 5000 }),
      fc.integer({ min: 1, max: 5000 }),
      (fraction, minMs, maxMs) => {
        const delays = backoff({ minMs, maxMs, random: () => fraction });
        for (let i = 0; i < 20; i++) {
          const pauseMs = delays.next();
          expect(pauseMs).toBeGreaterThanOrEqual(Math.min(minMs, maxMs) / 2);
          expect(pauseMs).toBeLessThanOrEqual(maxMs);
        }
      },
    ),
  );
});
