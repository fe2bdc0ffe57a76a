import { sharedInterval } from '../../../agent/lmdb/shared-interval.ts';

beforeEach(() => jest.useFakeTimers());
afterEach(() => jest.useRealTimers());

test('the same interval is one timer, until nobody waits for it', () => {
  const [first, second, other] = [jest.fn(), jest.fn(), jest.fn()];
  const stops = [
    sharedInterval(1000, first),
    sharedInterval(1000, second),
    sharedInterval(300, other),
  ];
  expect(jest.getTimerCount()).toBe(2);
  jest.advanceTimersByTime(2000);
  expect([first, second, other].map((call) => call.mock.calls.length)).toEqual([2, 2, 6]);
  stops[0]?.();
  jest.advanceTimersByTime(1000);
  expect(first).toHaveBeenCalledTimes(2);
  expect(second).toHaveBeenCalledTimes(3);
  for (const stop of stops) {
    stop();
  }
  expect(jest.getTimerCount()).toBe(0);
});

test('one that ends another one, or begins one, in its turn disturbs none', () => {
  const late = jest.fn();
  const stopped = jest.fn();
  let stopSecond = () => {};
  const stopFirst = sharedInterval(100, () => {
    stopSecond();
    stopFirst();
    sharedInterval(100, late);
  });
  stopSecond = sharedInterval(100, stopped);
  jest.advanceTimersByTime(100);
  expect(stopped).not.toHaveBeenCalled();
  jest.advanceTimersByTime(100);
  expect(late.mock.calls.length).toBeGreaterThan(0);
});
