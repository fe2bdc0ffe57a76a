import { Environment } from '../../../../agent/lmdb/environment.ts';
import type { DataFile } from '../../../../agent/lmdb/pages/data-file.ts';
import { LmdbHost } from '../../../support/lmdb-host.ts';

// Less than fits into one round, so that a small DBI takes many.
jest.mock('../../../../agent/lmdb/limits.ts', () => ({
  ...jest.requireActual<object>('../../../../agent/lmdb/limits.ts'),
  REGRESSION_BYTES: 64 * 1024,
}));

let host: LmdbHost;
beforeEach(() => {
  host = new LmdbHost();
});
afterEach(async () => {
  jest.restoreAllMocks();
  await host.close();
});

/** Does it before every write transaction of the agent from now on. */
function beforeWrites(work: (file: DataFile) => void): void {
  jest.restoreAllMocks();
  const { write } = Environment.prototype as unknown as { write: (work: unknown) => never };
  jest.spyOn(Environment.prototype, 'write').mockImplementation(function watched(
    this: Environment,
    transaction: unknown,
  ) {
    work(this.file);
    return write.call(this, transaction);
  });
}

const names = (count: number) => Array.from({ length: count }, (_, i) => `k${i + 10_000}`);

/** Pages read until a dropped DBI of so many entries is back. */
async function pagesToPutBack(count: number): Promise<number> {
  host.application.write((txn) => {
    for (const name of names(count)) {
      txn.put('zones', name, { value: 'x'.repeat(400), ts: 100 });
    }
  });
  let file: DataFile | undefined;
  beforeWrites((written) => (file = written));
  const db = await host.start();
  await host.sendAll(db);
  const before = file!.pagesRead;
  host.application.write((txn) => txn.drop('zones'));
  expect(await db.detect()).toMatchObject({ regressions: count });
  expect(Object.keys(host.zones())).toEqual(names(count));
  const pages = file!.pagesRead - before;
  await host.kill(db);
  return pages;
}

test('a dropped DBI is read a few times, however many rounds it takes to put it back', async () => {
  const few = await pagesToPutBack(500);
  await host.close();
  host = new LmdbHost();
  const many = await pagesToPutBack(5000);
  expect(many / few).toBeLessThan(12);
});

test('what is removed again right after it was put back comes back all the same', async () => {
  host.application.write((txn) => {
    for (const name of names(1000)) {
      txn.put('zones', name, { value: 'x'.repeat(400), ts: 100 });
    }
  });
  const db = await host.start();
  await host.sendAll(db);
  host.application.write((txn) => txn.drop('zones'));
  let writes = 0;
  beforeWrites(() => {
    writes += 1;
    if (writes === 4) {
      host.application.remove('zones', 'k10001');
    }
  });
  await db.detect();
  expect(writes).toBeGreaterThan(4);
  expect(Object.keys(host.zones())).toEqual(names(1000));
  expect((await db.detect()).pendingKeys).toBe(1000);
});
