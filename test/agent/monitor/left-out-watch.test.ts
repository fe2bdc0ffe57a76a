import { parseObjectName } from '../../../protocol/object-name.ts';
import type { MergedEvent } from '../../../agent/engine/observer.ts';
import { LeftOutWatch } from '../../../agent/monitor/left-out-watch.ts';
import type { Logger } from '../../../agent/log/log.ts';

const ONE = { entries: 1, first: 'DBI zones, key "k"' };

function start() {
  const lines: unknown[] = [];
  const log = { warn: (fields: unknown) => lines.push(fields) } as unknown as Logger;
  return { lines, watch: new LeftOutWatch(log) };
}

function merged(instance: string, kind: 'snapshot' | 'delta', leftOut = false): MergedEvent {
  const ending = kind === 'delta' ? 'delta.pb.gz' : 'pb.gz';
  const object = parseObjectName(
    `main__${instance}__20240131-235959-012345678__Gabcdefghijkl__S7.${ending}`,
  );
  return { object, result: leftOut ? { leftOut: ONE } : {} } as MergedEvent;
}

test('local entries are logged when there are more of them, not at every look', () => {
  const { lines, watch } = start();
  for (const entries of [1, 1, 2, 2, 1]) {
    watch.detected({ ...ONE, entries });
  }
  expect(lines).toEqual([ONE, { ...ONE, entries: 2 }]);
  expect(watch.local).toEqual(ONE);
  watch.detected(undefined);
  expect(watch.local).toBeUndefined();
});

test('what an instance sent counts until a full state of it comes without any', () => {
  const { lines, watch } = start();
  watch.merged(merged('a', 'snapshot', true));
  watch.merged(merged('a', 'snapshot', true));
  watch.merged(merged('b', 'delta', true));
  expect(lines).toHaveLength(2);
  expect(watch.received).toMatchObject({ entries: 2, first: ONE.first });
  watch.merged(merged('a', 'delta'));
  watch.merged(merged('b', 'snapshot'));
  expect(watch.received).toMatchObject({ entries: 1 });
  expect(watch.received?.object).toContain('main__a__');
  watch.merged(merged('a', 'snapshot'));
  expect(watch.received).toBeUndefined();
});
