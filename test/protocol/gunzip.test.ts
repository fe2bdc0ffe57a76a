import { gzipSync } from 'node:zlib';
import { gunzip, type GunzipLimits } from '../../protocol/gunzip.ts';
import { readSnapshot, readSnapshotHead } from '../../protocol/snapshot-reader.ts';
import { EMPTY_META, type Entry } from '../../protocol/snapshot.ts';
import { encodeSnapshot } from '../support/arbitraries.ts';
import { CollectingSink, chunksOf, errorCodeOf } from '../support/fixtures.ts';

const random = Buffer.alloc(200_000);
for (let i = 0, x = 1; i < random.length; i++) {
  x = (Math.imul(x, 1103515245) + 12345) >>> 0;
  random[i] = x >>> 16;
}
// One that is decompressed in one call, one that streams.
const bodies = [
  { way: 'in one call', body: Buffer.from('hello') },
  { way: 'as a stream', body: random },
];

async function collect(bytes: Uint8Array, chunkBytes?: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await gunzip(chunksOf(bytes, chunkBytes), (chunk) => chunks.push(Buffer.from(chunk)));
  return Buffer.concat(chunks);
}

describe.each(bodies)('gzip data decompressed $way', ({ body }) => {
  const object = gzipSync(body);

  test('is decompressed, however it is cut', async () => {
    expect((await collect(object)).equals(body)).toBe(true);
    expect((await collect(object, 101)).equals(body)).toBe(true);
  });

  test('may have several members, cut anywhere', async () => {
    const two = Buffer.concat([object, gzipSync('x')]);
    const expected = Buffer.concat([body, Buffer.from('x')]);
    for (const chunkBytes of [object.length, object.length - 1, object.length + 1, 65536]) {
      expect((await collect(two, chunkBytes)).equals(expected)).toBe(true);
    }
  });

  test.each([
    ['is cut off', (b: Buffer) => b.subarray(0, -9)],
    ['has lost its trailer', (b: Buffer) => b.subarray(0, -3)],
    ['has a wrong checksum', (b: Buffer) => Buffer.concat([b.subarray(0, -8), Buffer.alloc(8, 1)])],
    ['is followed by text', (b: Buffer) => Buffer.concat([b, Buffer.from('garbage')])],
    ['is followed by zeros', (b: Buffer) => Buffer.concat([b, Buffer.alloc(7)])],
    ['is followed by one byte', (b: Buffer) => Buffer.concat([b, Buffer.of(0x1f)])],
    ['is text', (b: Buffer) => Buffer.concat([Buffer.from('not gzip'), b])],
  ])('is corrupt when it %s', async (_name, damage) => {
    for (const chunkBytes of [object.length, Math.ceil(object.length / 200)]) {
      expect(await errorCodeOf(() => collect(damage(object), chunkBytes))).toBe('SNAPSHOT_CORRUPT');
    }
  });
});

test('nothing at all is corrupt', async () => {
  expect(await errorCodeOf(() => collect(Buffer.alloc(0)))).toBe('SNAPSHOT_CORRUPT');
});

test.each<GunzipLimits>([
  { decompressedBytes: 10_000_000 },
  { ratio: 100, ratioAllowanceBytes: 1_000_000 },
])('a bomb is stopped at its limit: %j', async (limits) => {
  const bomb = gzipSync(Buffer.alloc(100_000_000));
  let pushed = 0;
  const work = gunzip(chunksOf(bomb), (chunk) => (pushed += chunk.length), { limits });
  expect(await errorCodeOf(() => work)).toBe('SNAPSHOT_CORRUPT');
  expect(pushed).toBeLessThan(16_000_000);
});

test('a small bomb does not pass by the short way', async () => {
  const bomb = gzipSync(Buffer.alloc(5_000_000));
  const work = gunzip(chunksOf(bomb), () => {}, { limits: { decompressedBytes: 1000 } });
  expect(await errorCodeOf(() => work)).toBe('SNAPSHOT_CORRUPT');
});

test.each(bodies)(
  '$way: errors of source and receiver come out as they are, and the source is closed',
  async ({ body }) => {
    const object = gzipSync(body);
    let closed = 0;
    async function* failing(): AsyncGenerator<Uint8Array> {
      try {
        yield* chunksOf(object, 40_000);
        await Promise.reject(new Error('reset'));
      } finally {
        closed++;
      }
    }
    await expect(gunzip(failing(), () => {})).rejects.toThrow('reset');
    const refuse = (): never => {
      throw new RangeError('full');
    };
    await expect(gunzip(chunksOf(object), refuse)).rejects.toThrow('full');
    await expect(gunzip(failing(), refuse)).rejects.toThrow(/full|reset/);
    expect(closed).toBe(2);
  },
);

test('an abort ends the reading', async () => {
  const controller = new AbortController();
  const work = gunzip(chunksOf(gzipSync(random), 1000), () => controller.abort(), {
    signal: controller.signal,
  });
  await expect(work).rejects.toThrow(expect.objectContaining({ name: 'AbortError' }));
  await expect(gunzip(chunksOf(random), () => {}, { signal: controller.signal })).rejects.toThrow(
    'abort',
  );
});

test('a source is closed also when an abort comes before its end', async () => {
  const controller = new AbortController();
  let closed = false;
  async function* endless(): AsyncGenerator<Uint8Array> {
    try {
      for (;;) {
        yield await Promise.resolve(Buffer.of(0x1f));
        controller.abort();
      }
    } finally {
      closed = true;
    }
  }
  await expect(gunzip(endless(), () => {}, { signal: controller.signal })).rejects.toThrow('abort');
  expect(closed).toBe(true);
});

describe('the head of an object', () => {
  const entries: Entry[] = Array.from({ length: 20_000 }, (_, i) => ({
    key: Buffer.from(`key ${i}`),
    value: random.subarray(i, i + 30),
    timestampNs: BigInt(i),
    deleted: false,
  }));
  const meta = { ...EMPTY_META, instance: 'a', run: 'abcdefghijkl', seq: 9n, vector: new Map() };
  const object = gzipSync(
    encodeSnapshot({ meta, dbis: [{ name: 'd', flags: 0, transform: '', entries }] }),
    { level: 1 },
  );

  test('is read from the first bytes of an object that is cut off behind it', async () => {
    const expected = { meta, formatVersion: 3, compatVersion: 1 };
    for (const length of [2000, 33_000, 100_000, object.length]) {
      expect(await readSnapshotHead(chunksOf(object.subarray(0, length), 1000))).toEqual(expected);
    }
  });

  test('takes no more of a stream than it needs', async () => {
    let taken = 0;
    async function* counted(): AsyncGenerator<Uint8Array> {
      for await (const chunk of chunksOf(object, 10_000)) {
        taken += chunk.length;
        yield chunk;
      }
    }
    await readSnapshotHead(counted());
    expect(taken).toBeLessThan(object.length / 2);
  });

  test('is corrupt where the bytes end too early', async () => {
    expect(await errorCodeOf(() => readSnapshotHead(chunksOf(object.subarray(0, 12))))).toBe(
      'SNAPSHOT_CORRUPT',
    );
    expect(await errorCodeOf(() => readSnapshotHead(chunksOf(Buffer.alloc(0))))).toBe(
      'SNAPSHOT_CORRUPT',
    );
  });

  test('of a snapshot without a DBI is its whole', async () => {
    const head = await readSnapshotHead(chunksOf(gzipSync(encodeSnapshot({ meta, dbis: [] }))));
    expect(head.meta).toEqual(meta);
  });

  test('does not spoil the whole', async () => {
    const sink = new CollectingSink();
    await readSnapshot(chunksOf(object), sink);
    expect(sink.dbis[0]?.entries).toHaveLength(entries.length);
  });
});
