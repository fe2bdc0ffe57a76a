import { setImmediate as turn } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { GzipWriter } from '../../protocol/gzip.ts';
import { GZIP_MEMBERS_IN_FLIGHT } from '../../protocol/limits.ts';

const block = (index: number) => Buffer.alloc(index % 3 === 0 ? 300_000 : 10, `block ${index} `);

test('blocks that are compressed beside each other come out in their order', async () => {
  const written: Uint8Array[] = [];
  let writing = 0;
  const gzip = new GzipWriter({
    level: 1,
    write: async (chunk) => {
      writing += 1;
      await turn();
      expect(writing).toBe(1);
      writing -= 1;
      written.push(chunk);
    },
  });
  const blocks = Array.from({ length: 20 }, (_, index) => block(index));
  for (let i = 0; i < blocks.length; i += 2) {
    await gzip.add(blocks.slice(i, i + 2));
  }
  await gzip.finish();
  expect(gunzipSync(Buffer.concat(written)).equals(Buffer.concat(blocks))).toBe(true);
});

test('whoever adds waits while too much is on its way', async () => {
  let go = () => {};
  const mayGo = new Promise<void>((resolve) => (go = resolve));
  const gzip = new GzipWriter({ level: 1, write: () => mayGo });
  let added = 0;
  const adding = (async () => {
    for (; added < 2 * GZIP_MEMBERS_IN_FLIGHT; added += 1) {
      await gzip.add([block(added)]);
    }
  })();
  // Nothing that could be awaited tells that it waits.
  for (let i = 0; i < 100; i += 1) {
    await turn();
  }
  expect(added).toBe(GZIP_MEMBERS_IN_FLIGHT - 1);
  go();
  await adding;
  await gzip.finish();
});

test('a write that fails is reported, and nothing is written behind it', async () => {
  let writes = 0;
  const gzip = new GzipWriter({
    level: 1,
    write: async () => {
      writes += 1;
      if (writes === 2) {
        throw new Error('no space left');
      }
    },
  });
  const adding = (async () => {
    for (let i = 0; i < 2 * GZIP_MEMBERS_IN_FLIGHT; i += 1) {
      await gzip.add([block(i)]);
    }
  })();
  await expect(adding).rejects.toThrow('no space left');
  await expect(gzip.finish()).rejects.toThrow('no space left');
  await gzip.settle();
  expect(writes).toBe(2);
});
