import { Unfinished } from '../../../agent/pacing/unfinished.ts';

test('what began first and is not over is what is waited for', () => {
  const unfinished = new Unfinished();
  const first = unfinished.begin('list');
  const second = unfinished.begin('load');
  expect(unfinished.describe()).toBe('list');
  first();
  expect(unfinished.describe()).toBe('load');
  second();
  expect(unfinished.describe()).toBeUndefined();
});
