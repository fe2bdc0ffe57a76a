import { formatTable } from '../../demo/table.ts';
import { median, medianOf, quantile } from '../../bench/support/statistics.ts';

test('a quantile is one of the samples, whatever their order', () => {
  const samples = [5, 1, 4, 2, 3];
  expect(median(samples)).toBe(3);
  expect(quantile(samples, 0.99)).toBe(5);
  expect(quantile(samples, 0)).toBe(1);
  expect(quantile([], 0.5)).toBeNaN();
});

test('medians of several runs are taken field by field', async () => {
  const runs = [
    { ms: 1, mb: 30 },
    { ms: 3, mb: 10 },
    { ms: 2, mb: 20 },
  ];
  expect(await medianOf(3, async () => runs.shift() as { ms: number; mb: number })).toEqual({
    ms: 2,
    mb: 20,
  });
});

test('columns of a table are as wide as their widest cell, numbers stand at the right', () => {
  const rows = [
    ['a', '1'],
    ['longer', '1000'],
  ];
  expect(formatTable(['what', 'n'], rows, new Set(['n']))).toBe(
    ['what       n', '------  ----', 'a          1', 'longer  1000'].join('\n'),
  );
});
