import { MemoryObjectStore } from '../../../storage/memory.ts';
import { bytesBody } from '../../../storage/bodies.ts';
import { Semaphore } from '../../../agent/pacing/semaphore.ts';
import { watchedLimit } from '../../../agent/watchdog/watched-limit.ts';
import { WatchedStore } from '../../../agent/watchdog/watched-store.ts';
import { Watchdog } from '../../../agent/watchdog/watchdog.ts';

const MINUTE = 60_000;
const NEVER = new AbortController().signal;

function start() {
  let timeMs = 1000;
  const watchdog = new Watchdog(() => timeMs);
  return {
    watchdog,
    loop: watchdog.loop('receive'),
    advance: (ms: number) => (timeMs += ms),
    stalls: (limitMs = MINUTE) =>
      watchdog.stalls(limitMs).map(({ loop, waitsFor, forMs }) => `${loop} ${waitsFor} ${forMs}`),
  };
}

function forever<T>(): Promise<T> {
  return new Promise(() => undefined);
}

async function turn(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}

test('a promise that never settles is a stall that names what is waited for, once the limit is over', () => {
  const { loop, advance, stalls } = start();
  void loop.during('a round', forever);
  void loop.during('a download place', forever);
  advance(MINUTE - 1);
  expect(stalls()).toEqual([]);
  advance(1);
  expect(stalls()).toEqual(['receive waits for a download place 60000']);
});

test('progress of what is nested in it keeps a long step from being a stall', () => {
  const { loop, advance, stalls } = start();
  void loop.during('a round', forever);
  for (let minute = 0; minute < 10; minute += 1) {
    advance(MINUTE - 1);
    loop.progressed();
    expect(stalls()).toEqual([]);
  }
});

test('what has ended, by success or failure, is waited for no longer', async () => {
  const { loop, advance, stalls } = start();
  await expect(loop.during('a step', () => Promise.resolve(7))).resolves.toBe(7);
  await expect(loop.during('a step', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  loop.rests(Number.POSITIVE_INFINITY);
  advance(60 * MINUTE);
  expect(stalls()).toEqual([]);
});

test('a loop that does not come back from its pause is a stall from the time on at which it was due', () => {
  const { loop, advance, stalls } = start();
  loop.rests(5 * MINUTE);
  advance(6 * MINUTE - 1);
  expect(stalls()).toEqual([]);
  advance(1);
  expect(stalls()).toEqual(['receive did not come back 60000']);
});

test('one loop that hangs is named although others go on', async () => {
  const { watchdog, advance, stalls } = start();
  void watchdog.loop('send').during('an object', forever);
  advance(5 * MINUTE);
  await watchdog.loop('publish').during('a look', () => Promise.resolve());
  expect(stalls()).toEqual(['send waits for an object 300000']);
});

describe('a store that is watched', () => {
  test('names the request that hangs', () => {
    const { loop, advance, stalls } = start();
    const memory = new MemoryObjectStore();
    const store = new WatchedStore(
      Object.assign(Object.create(memory) as MemoryObjectStore, { get: () => forever<never>() }),
      loop,
    );
    void store.get('main__a__x', { signal: NEVER });
    advance(MINUTE);
    expect(stalls()).toEqual(['receive waits for the storage to send main__a__x 60000']);
  });

  test('counts every chunk and every name as progress, and waits for nothing while the reader works', async () => {
    const { loop, advance, stalls } = start();
    const memory = new MemoryObjectStore();
    await memory.create('main__a', bytesBody(Buffer.from('a')), NEVER);
    await memory.create('main__b', bytesBody(Buffer.from('b')), NEVER);
    const store = new WatchedStore(memory, loop);
    const names: string[] = [];
    for await (const { name } of store.list('main__', { signal: NEVER })) {
      advance(10 * MINUTE);
      expect(stalls()).toEqual([]);
      names.push(name);
    }
    expect(names).toEqual(['main__a', 'main__b']);
    const got = await store.get('main__a', { signal: NEVER });
    const chunks: Uint8Array[] = [];
    for await (const chunk of got?.body ?? []) {
      chunks.push(chunk);
    }
    expect(Buffer.concat(chunks).toString()).toBe('a');
  });

  test('ends the listing below when its reader stops', async () => {
    const { loop } = start();
    let isOpen = false;
    async function* endless() {
      isOpen = true;
      try {
        for (;;) {
          yield { name: 'x', sizeBytes: 1, etag: 'e', lastModifiedMs: 0 };
        }
      } finally {
        isOpen = false;
      }
    }
    const memory = Object.create(new MemoryObjectStore()) as MemoryObjectStore;
    const store = new WatchedStore(Object.assign(memory, { list: endless }), loop);
    for await (const _ of store.list('', { signal: NEVER })) {
      expect(isOpen).toBe(true);
      break;
    }
    expect(isOpen).toBe(false);
  });
});

test('a limit that is watched names who waits for a place, and lets go where the wait is given up', async () => {
  const { loop, advance, stalls } = start();
  const limit = watchedLimit(new Semaphore(1), loop, 'a download place');
  const release = await limit.acquire(NEVER);
  const given = new AbortController();
  const second = limit.acquire(given.signal).catch(() => undefined);
  advance(2 * MINUTE);
  expect(stalls()).toEqual(['receive waits for a download place 120000']);
  given.abort();
  await second;
  await turn();
  expect(stalls(0)).toEqual([]);
  release();
});
