import { bucketIdName } from '../../../protocol/object-name.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { QuietFleet, shortName } from '../../simulation/quiet/quiet-fleet.ts';
import { openSpools } from '../../support/open-spools.ts';

const NEVER = new AbortController().signal;

let fleet: QuietFleet;

beforeEach(() => {
  fleet = new QuietFleet();
});

afterEach(() => fleet.dispose());

async function started(host = fleet.a, overrides: Parameters<QuietFleet['start']>[1] = {}) {
  const run = fleet.start(host, overrides);
  await fleet.until(`the start of ${host.label}`, () => run.isStarted);
  return run;
}

async function stored(count: number): Promise<void> {
  await fleet.until(`object ${count}`, () => fleet.stored().length >= count);
}

function recordCalls(): string[] {
  const calls: string[] = [];
  fleet.store.plan = (call, name) => {
    calls.push(`${call} ${shortName(name)}`);
    return 'none';
  };
  return calls;
}

describe('stopping', () => {
  test('sends the last change, which nobody has told of', async () => {
    await started();
    fleet.write(fleet.a, 'k', '1');
    await stored(1);
    const value = Buffer.from('2');
    const register = { timestampNs: fleet.a.clock.nowNs(), value, deleted: false };
    fleet.a.commit(new Map([['zones/last', register]]));
    await fleet.stop(fleet.a);
    expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.2 delta']);
  });

  test('leaves an LMDB with which the next start reads and sends nothing again', async () => {
    await started(fleet.b);
    fleet.write(fleet.b, 'b', '1');
    await stored(1);
    await started();
    fleet.write(fleet.a, 'a', '1');
    await stored(2);
    await fleet.stop(fleet.a);
    const calls = recordCalls();
    await started();
    await fleet.rest();
    expect(calls).toEqual([`get ${bucketIdName()}`, 'list main__']);
    await fleet.stop(fleet.a);
    expect(fleet.stored()).toHaveLength(2);
  });

  test('ends in its time when storage hangs, and the next start sends what is left', async () => {
    await started(fleet.a, { shutdownTimeoutMs: 3 });
    fleet.store.plan = (call) => (call === 'create' ? 'fail' : 'none');
    fleet.write(fleet.a, 'k', '1');
    await fleet.rest();
    await fleet.stop(fleet.a);
    expect(fleet.stored()).toEqual([]);
    fleet.store.plan = () => 'none';
    await started();
    await stored(1);
    expect(fleet.stored()).toEqual(['a.1 snapshot']);
  });

  test('in the middle of the first pass is no error', async () => {
    fleet.store.plan = (call) => (call === 'list' ? 'fail' : 'none');
    fleet.start(fleet.a);
    await fleet.rest();
    await expect(fleet.stop(fleet.a)).resolves.toBeUndefined();
  });
});

describe('after a crash', () => {
  test('what was not acknowledged is sent by the next run, in a stream of its own', async () => {
    await started();
    fleet.write(fleet.a, 'k', '1');
    await stored(1);
    fleet.store.plan = (call) => (call === 'create' ? 'lands later' : 'none');
    fleet.write(fleet.a, 'k', '2');
    await fleet.until('the attempt', () => fleet.store.lateCount > 0);
    await fleet.crash(fleet.a);
    fleet.store.plan = () => 'none';
    await started();
    await stored(2);
    await fleet.store.landLate();
    const reader = await started(fleet.b);
    expect(fleet.read(fleet.b, 'k')).toBe('2');
    expect(reader.quarantined.size).toBe(0);
  });

  test('own objects of the run before are merged into a wiped LMDB', async () => {
    await started();
    fleet.write(fleet.a, 'k', '1');
    await stored(1);
    await fleet.crash(fleet.a);
    await fleet.a.replace(undefined);
    await started();
    expect(fleet.read(fleet.a, 'k')).toBe('1');
    await fleet.rest();
    expect(fleet.stored()).toEqual(['a.1 snapshot']);
  });
});

describe('only-once', () => {
  test('ends when everything listed is merged and everything local is stored', async () => {
    await started(fleet.b);
    fleet.write(fleet.b, 'b', '1');
    await stored(1);
    fleet.write(fleet.a, 'a', '1');
    const run = fleet.start(fleet.a, { onlyOnce: true });
    await run.ended();
    fleet.a.run = undefined;
    expect(fleet.read(fleet.a, 'b')).toBe('1');
    expect(fleet.stored()).toEqual(['b.1 snapshot', 'a.1 snapshot']);
  });

  test('goes on until storage works', async () => {
    let failures = 6;
    fleet.store.plan = () => (failures-- > 0 ? 'fail' : 'none');
    fleet.write(fleet.a, 'a', '1');
    const run = fleet.start(fleet.a, { onlyOnce: true });
    await run.ended();
    fleet.a.run = undefined;
    expect(fleet.stored()).toEqual(['a.1 snapshot']);
  });

  test('ends at once where there is nothing at all', async () => {
    const run = fleet.start(fleet.a, { onlyOnce: true });
    await run.ended();
    fleet.a.run = undefined;
    expect(fleet.stored()).toEqual([]);
  });
});

test('receive-only stores nothing, not even the id of the bucket', async () => {
  await started(fleet.b);
  fleet.write(fleet.b, 'b', '1');
  await stored(1);
  const calls = recordCalls();
  await started(fleet.a, { receiveOnly: true });
  fleet.write(fleet.a, 'a', '1');
  await fleet.rest();
  await fleet.stop(fleet.a);
  expect(fleet.read(fleet.a, 'b')).toBe('1');
  expect(calls.filter((call) => /^(create|put|delete)/.test(call))).toEqual([]);
});

test('in another bucket everything is sent and merged anew', async () => {
  await started();
  fleet.write(fleet.a, 'k', '1');
  await stored(1);
  await fleet.stop(fleet.a);
  for (const name of await fleet.bucket.names()) {
    await fleet.bucket.delete(name, NEVER);
  }
  const id = Buffer.from(JSON.stringify({ version: 1, id: 'another-bucket' }));
  await fleet.bucket.create(bucketIdName(), bytesBody(id), NEVER);
  await started();
  await stored(2);
  expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.1 snapshot']);
  await started(fleet.b);
  expect(fleet.read(fleet.b, 'k')).toBe('1');
});

test('a copy of an LMDB under another name sends only what is new, and both go on', async () => {
  await started();
  fleet.write(fleet.a, 'k', '1');
  await stored(1);
  await fleet.stop(fleet.a);
  fleet.a.saveBackup();
  await fleet.b.replace(fleet.a.backup);
  await started();
  await started(fleet.b);
  await fleet.rest();
  expect(fleet.stored()).toEqual(['a.1 snapshot']);
  fleet.write(fleet.b, 'k', '2');
  await stored(2);
  fleet.a.run?.engine.noteNames(fleet.storedNames());
  await fleet.until('the merge', () => fleet.read(fleet.a, 'k') === '2');
  expect(fleet.stored()[1]).toBe('b.1 delta');
});

test('a change told of while a merge fails is sent without another hint', async () => {
  const run = await started();
  fleet.write(fleet.a, 'k', '1');
  await stored(1);
  await started(fleet.b);
  fleet.write(fleet.b, 'k2', '2');
  await stored(2);
  const [, name = ''] = fleet.storedNames();
  await fleet.bucket.damage(name, () => 0);
  fleet.store.plan = (call, asked) => (call === 'get' && asked === name ? 'slow' : 'none');
  // The second fetch of the damaged object is a part of its merge.
  let told = false;
  fleet.store.pause = async () => {
    if (told) {
      return;
    }
    told = true;
    fleet.write(fleet.a, 'k3', '3');
  };
  run.engine.noteNames([name]);
  await stored(3);
  expect(told).toBe(true);
  expect(fleet.stored()[2]).toBe('a.2 delta');
});

test('a loser of the application is put back, and the winner sent', async () => {
  await started();
  fleet.write(fleet.a, 'k', 'winner');
  await stored(1);
  fleet.a.clock.skewMs = -1000;
  fleet.write(fleet.a, 'k', 'loser');
  await fleet.until('the winner', () => fleet.read(fleet.a, 'k') === 'winner');
  await stored(2);
  await fleet.stop(fleet.a);
  expect(fleet.stored()).toEqual(['a.1 snapshot', 'a.2 delta']);
});

test('no spool is left behind', async () => {
  await fleet.dispose();
  fleet = new QuietFleet({ spoolMemoryBytes: 10 });
  await started();
  await started(fleet.b);
  fleet.write(fleet.a, 'k', '1');
  await stored(1);
  fleet.b.run?.engine.noteNames(fleet.storedNames());
  await fleet.until('the merge', () => fleet.read(fleet.b, 'k') === '1');
  await fleet.stop(fleet.a);
  await fleet.stop(fleet.b);
  expect(openSpools(fleet.folder)).toEqual([]);
});
