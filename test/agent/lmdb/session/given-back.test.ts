import { LockGivenBack } from '../../../../agent/lmdb/changes/given-back.ts';
import { DataFile } from '../../../../agent/lmdb/pages/data-file.ts';
import { before } from '../../../support/interpose.ts';
import { LmdbHost } from '../../../support/lmdb-host.ts';

// A transaction of ours begins with a diff that may be broken off before any of its reads, for lack of time. The same
// diff comes again, without the lock: it must start from exactly what the first one started from.

/** Breaks off the first bounded diff before its read of this number; tells whether there was one. */
function giveBackAt(readNumber: number): { readonly wasGivenBack: boolean } {
  const outcome = { wasGivenBack: false };
  type Bounded = (this: DataFile, check: () => void, work: () => unknown) => unknown;
  const { bounded } = DataFile.prototype as unknown as { bounded: Bounded };
  function interrupted(this: DataFile, _check: () => void, work: () => unknown): unknown {
    let reads = 0;
    const check = () => {
      reads += 1;
      if (reads === readNumber && !outcome.wasGivenBack) {
        outcome.wasGivenBack = true;
        throw new LockGivenBack();
      }
    };
    return bounded.call(this, check, work);
  }
  jest.spyOn(DataFile.prototype, 'bounded').mockImplementation(interrupted);
  return outcome;
}

type Committed = { readonly sent: Record<string, string>; readonly wasGivenBack: boolean };

/** The application commits right before we get the lock for a merge. What goes out for it then? */
async function commitBeforeMerge(readNumber: number): Promise<Committed> {
  const host = new LmdbHost();
  try {
    host.application.write((txn) => {
      txn.put('zones', 'a', { value: 'local', ts: 100 });
      txn.put('zones', 'b', { value: 'local', ts: 100 });
    });
    // The first one at all: no page is free yet.
    const db = await host.start();
    await host.sendAll(db);
    const outcome = giveBackAt(readNumber);
    before('write', 1, () =>
      host.application.write((txn) => {
        txn.put('zones', 'a', { value: 'newest', ts: 300 });
        txn.put('zones', 'b', { value: 'older', ts: 50 });
      }),
    );
    await host.merge(db, 'c', { value: 'merged', ts: 200 });
    await db.detect();
    const { zones = {} } = await host.sendDelta(db);
    expect(host.zones()).toMatchObject({
      a: { value: 'newest' },
      b: { value: 'local' },
      c: { value: 'merged' },
    });
    return { sent: zones, wasGivenBack: outcome.wasGivenBack };
  } finally {
    jest.restoreAllMocks();
    await host.close();
  }
}

test('a diff that is broken off before any of its reads finds everything the next time', async () => {
  const { sent: expected } = await commitBeforeMerge(0);
  expect(expected).toMatchObject({ a: 'newest@300', b: 'local@100' });
  let readNumber = 1;
  for (; ; readNumber += 1) {
    const { sent, wasGivenBack } = await commitBeforeMerge(readNumber);
    expect({ readNumber, sent }).toEqual({ readNumber, sent: expected });
    if (!wasGivenBack) {
      break;
    }
  }
  // The roots, the DBIs and their pages, at least.
  expect(readNumber).toBeGreaterThan(5);
});
