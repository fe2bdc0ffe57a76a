import { estimateCost } from '../../../agent/status/cost-estimate.ts';

const HOUR_MS = 3_600_000;
const idle = {
  requests: new Map([
    ['list', 12],
    ['sqs-receive', 180],
  ]),
  uptimeMs: HOUR_MS,
  databases: 1,
  pollIntervalMs: 1000,
};

test('an idle agent on a queue costs cents, listing every second two orders more', () => {
  const { month = 0, monthListing = 0, prices } = estimateCost(idle) ?? {};
  // 730.5 hours: 8,766 lists at 5 dollars a million, 131,490 polls at 0.4; 2,629,800 lists.
  expect(month).toBeCloseTo(0.0438 + 0.0526, 3);
  expect(monthListing).toBeCloseTo(13.15, 2);
  expect(prices).toContain('us-east-1');
});

test('uploads and downloads are in both, every kind of SQS request in the first', () => {
  const requests = new Map([
    ['store', 1000],
    ['load', 10_000],
    ['delete', 5],
    ['sqs-receive', 100],
    ['sqs-delete', 100],
    ['sqs-send', 100],
  ]);
  const { month = 0, monthListing = 0 } =
    estimateCost({ ...idle, requests, databases: 3, pollIntervalMs: 10_000 }) ?? {};
  const both = 730.5 * (1000 * 5e-6 + 10_000 * 0.4e-6);
  expect(month).toBeCloseTo(both + 730.5 * 300 * 0.4e-6, 5);
  expect(monthListing).toBeCloseTo(both + (3 * 2_629_800 * 5e-6) / 10, 3);
});

test('the first minutes say nothing about a month', () => {
  expect(estimateCost({ ...idle, uptimeMs: 599_999 })).toBeUndefined();
  expect(estimateCost({ ...idle, uptimeMs: 600_000 })).toBeDefined();
});
