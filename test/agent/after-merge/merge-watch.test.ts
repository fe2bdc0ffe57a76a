import { MergeWatch } from '../../../agent/after-merge/merge-watch.ts';
import type { MergedEvent } from '../../../agent/engine/observer.ts';
import type { Detection } from '../../../agent/lmdb/local-database.ts';
import type { TouchedKeys } from '../../../agent/lmdb/touched-keys.ts';

function start() {
  const changes: TouchedKeys[] = [];
  const watch = new MergeWatch((touched) => changes.push(touched));
  const merged = (touched: TouchedKeys | undefined) =>
    watch.merged({ result: { touched } } as MergedEvent);
  return { watch, changes, merged };
}

const KEYS: TouchedKeys = new Map();

test('hands on the keys of each merge, and nothing where a merge tells none', () => {
  const { changes, merged } = start();
  merged(KEYS);
  merged(undefined);
  expect(changes).toEqual([KEYS]);
});

test('after a failure the next merge has changed anything: a part may have been written before', () => {
  const { watch, changes, merged } = start();
  watch.stepFailed('bucket id');
  watch.stepFailed('merge');
  merged(undefined);
  merged(KEYS);
  expect(changes).toEqual(['many', KEYS]);
});

test('what was put back and a rejoin have changed anything', () => {
  const { watch, changes } = start();
  watch.detected({ regressions: 0 } as Detection);
  expect(changes).toEqual([]);
  watch.detected({ regressions: 1 } as Detection);
  watch.rejoined();
  expect(changes).toEqual(['many', 'many']);
});
