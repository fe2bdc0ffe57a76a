import fs from 'node:fs';
import path from 'node:path';
import { parseObjectName } from '../../../protocol/object-name.ts';
import { MemoryObjectStore } from '../../../storage/memory.ts';
import { EngineHost } from '../../support/engine-host.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { scratchFolder } from '../../support/lmdb.ts';

const NEVER = new AbortController().signal;

let folder: string;
let store: MemoryObjectStore;
let clock: FakeClock;
let a: EngineHost;
let b: EngineHost;

beforeEach(() => {
  folder = scratchFolder();
  store = new MemoryObjectStore();
  clock = new FakeClock();
  a = new EngineHost({ folder, instance: 'a', store, clock });
  b = new EngineHost({ folder, instance: 'b', store, clock });
});

afterEach(async () => {
  await a.close();
  await b.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

/** Streams of host A's objects, and how many each has. */
async function streams(): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for await (const { name } of store.list('main__a__', { signal: NEVER })) {
    const stream = parseObjectName(name)?.stream ?? '';
    counts[stream] = (counts[stream] ?? 0) + 1;
  }
  return counts;
}

/** Tells both of everything that is stored, until both have it. */
async function settle(expected: Record<string, string | undefined>): Promise<void> {
  for (const host of [a, b]) {
    await host.eventually(() => {
      host.engine.noteListing();
      return JSON.stringify(host.values()) === JSON.stringify(expected);
    });
  }
}

let randomByte = 0;
const randomBytes = (size: number) => {
  randomByte += 1;
  return new Uint8Array(size).fill(randomByte);
};

describe('an LMDB that is replaced by a backup', () => {
  test('is opened anew: what is new in the bucket is merged, what is new in it is sent', async () => {
    const backup = path.join(folder, 'backup.mdb');
    await a.start({}, { randomBytes });
    await b.start({}, { randomBytes });
    a.write('one', 'in the backup');
    await settle({ one: 'in the backup' });
    fs.copyFileSync(a.file, backup);
    clock.advanceMs(10);
    a.write('three', 'sent after the backup');
    await settle({ one: 'in the backup', three: 'sent after the backup' });
    await a.replaceFile(() => fs.renameSync(backup, a.file));
    clock.advanceMs(10);
    a.write('two', 'after the restore');
    await settle({
      one: 'in the backup',
      three: 'sent after the backup',
      two: 'after the restore',
    });
    expect(Object.keys(await streams())).toHaveLength(2);
    expect(a.warnings).toContain('beginning a new run');
  });

  test('goes on as soon as there is a file again, and stops cleanly before', async () => {
    await a.start({}, { randomBytes });
    a.write('one', '1');
    await a.eventually(async () => Object.keys(await streams()).length === 1);
    const aside = path.join(folder, 'aside.mdb');
    fs.renameSync(a.file, aside);
    a.engine.noteReplaced();
    await a.eventually(() => a.warnings.includes('cannot open the LMDB again, trying on'));
    await a.stop();
    fs.renameSync(aside, a.file);
    await a.start({}, { randomBytes });
    await b.start({}, { randomBytes });
    await settle({ one: '1' });
    expect(Object.keys(a.values())).toEqual(['one']);
  });
});

describe('a clock that is set while an agent runs', () => {
  test.each([60_000, -60_000])('by %i ms makes it begin a new run', async (ms) => {
    let runningMs = 1000;
    const monotonicMs = () => runningMs;
    await b.start({}, { randomBytes });
    await a.start({}, { randomBytes, monotonicMs });
    a.write('one', '1');
    await settle({ one: '1' });
    const [before] = Object.keys(await streams());
    clock.advanceMs(ms);
    a.write('two', '2');
    await settle({ one: '1', two: '2' });
    expect(Object.keys(await streams())).toHaveLength(2);
    expect((await streams())[before!]).toBe(1);
    // Time that passes for both is none of it.
    clock.advanceMs(60_000);
    runningMs += 60_000;
    a.write('three', '3');
    await settle({ one: '1', three: '3', two: '2' });
    expect(Object.keys(await streams())).toHaveLength(2);
  });

  test('merges what its twin stored under the numbers that it would have used', async () => {
    let runningMs = 1000;
    const monotonicMs = () => runningMs;
    await b.start({}, { randomBytes });
    await a.start({}, { randomBytes, monotonicMs });
    a.write('one', '1');
    await settle({ one: '1' });
    // The twin is this very run, from this moment on, on another machine: same run, same LMDB.
    const twinFile = path.join(folder, 'twin.mdb');
    fs.copyFileSync(a.file, twinFile);
    const twin = new EngineHost({ folder, instance: 'a', store: new MemoryObjectStore(), clock });
    await twin.start();
    await twin.stop();
    await twin.replaceFile(() => fs.copyFileSync(twinFile, twin.file));
    await a.stop();
    await a.start({}, { randomBytes, monotonicMs });
    await twin.start({}, { store });
    clock.advanceMs(10);
    twin.write('twin', 'was here');
    await twin.eventually(async () => ((await streams())['a.arun2'] ?? 0) > 0);
    await twin.stop();
    await twin.close();
    clock.advanceMs(60_000);
    runningMs += 1000;
    a.write('mine', 'too');
    await settle({ mine: 'too', one: '1', twin: 'was here' });
    expect(a.warnings).toContain('beginning a new run');
  });
});
