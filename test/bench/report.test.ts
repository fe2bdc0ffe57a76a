import { readdirSync, readFileSync } from 'node:fs';
import { barChart } from '../../bench/report/charts.ts';
import { PAGE, PICTURES, reportFiles } from '../../bench/report/page.ts';
import { collectRounds, medians, parseResults } from '../../bench/report/results.ts';

const stored = parseResults(readFileSync('bench/results/latest.json', 'utf8'));

test('the page and its pictures are those of the stored results', () => {
  const files = reportFiles(stored);
  for (const [file, content] of files) {
    expect({ file, content: readFileSync(file, 'utf8') }).toEqual({ file, content });
  }
  const pictures = readdirSync(PICTURES).map((name) => `${PICTURES}/${name}`);
  expect(new Set([PAGE, ...pictures])).toEqual(new Set(files.keys()));
});

test('rounds become medians, a target of its own for each', () => {
  const round = (value: number, target: number, peer: number) => [
    { name: 'a', unit: 'ms', value, target, peer },
  ];
  const [row] = collectRounds([round(1, 10, 5), round(9, 30, 6), round(4, 20, 7)]);
  expect(row && medians(row)).toEqual({ value: 4, target: 20, peer: 6 });
});

test('the median of two rounds is not the better one', () => {
  const [row] = collectRounds([
    [{ name: 'a', unit: 'ms', value: 1 }],
    [{ name: 'a', unit: 'ms', value: 4 }],
  ]);
  expect(row && medians(row).value).toBe(2.5);
});

test('two rows of one name are no rounds of one row', () => {
  const row = { name: 'CPU', unit: 'ms', value: 1 };
  expect(() => collectRounds([[row, row]])).toThrow('two rows of one round are called "CPU"');
});

test('a missed target is called so, with what the rounds gave', () => {
  const row = {
    name: 'a <b> thing',
    unit: 'ms',
    targets: [3, 3, 3],
    values: [2, 4, 1000],
    peers: [],
  };
  const page = reportFiles({ machine: {}, date: '2026-11-27', commands: [], rows: [row] }).get(
    PAGE,
  );
  expect(page).toContain('0 of 1 targets met');
  expect(page).toContain('| a <b> thing | 4 ms (2–1,000) | 3 ms | **missed** |');
});

test('bars are as long as the logarithms of what they show', () => {
  const picture = barChart({
    title: 'x & y',
    unit: 'ms',
    rows: [
      { label: 'a', value: 1 },
      { label: 'b', value: 10 },
      { label: 'c', value: 100 },
    ],
  });
  const widths = Array.from(picture.matchAll(/<rect x="520" y="\S+" width="(\S+)"/g), ([, width]) =>
    Number(width),
  );
  expect((widths[2] ?? 0) - (widths[1] ?? 0)).toBeCloseTo((widths[1] ?? 0) - (widths[0] ?? 0), 0);
  expect(picture).toContain('<title>x &amp; y</title>');
});
