import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { CompactOnceAnswer, CompactOnceRequest } from '../../bench/support/compact-once.ts';
import { openFilesystemStore } from '../../storage/folder/store.ts';
import { TestWriter, type TestDbi } from '../support/compaction.ts';

const CHILD = resolve(__dirname, '../../bench/support/compact-once.ts');
const VALUE = Buffer.alloc(400, 'some text of a record ');
const TIME = 1_700_000_000_000_000_000n;

/** Entries whose values do not repeat, so that the object is large compressed, too; in order or not. */
function dbi(first: number, count: number, inOrder: boolean): TestDbi {
  const entries = Array.from({ length: count }, (_, i) => {
    // 7919 has no factor in common with the count, so that every key comes once.
    const number = first + (inOrder ? i : (i * 7919) % count);
    const value = Buffer.from(VALUE);
    value.write(Math.sin(number).toString(36), 0, 'latin1');
    return {
      key: Buffer.from(`key-${String(number).padStart(9, '0')}`),
      value,
      timestampNs: TIME + BigInt(number),
      deleted: false,
    };
  });
  return { name: 'records', entries };
}

test('folding several times its heap, sorted and unsorted, stays in bounded memory', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'compaction-memory-'));
  try {
    const bucket = join(folder, 'bucket');
    const store = await openFilesystemStore({ rootPath: bucket });
    const ordered = new TestWriter(store, { instance: 'a', run: 'r1' });
    await ordered.snapshot([dbi(0, 120_000, true)]);
    const shuffled = new TestWriter(store, { instance: 'b', run: 'r2' });
    await shuffled.snapshot([dbi(60_000, 120_000, false)]);
    const request: CompactOnceRequest = { bucket, scratch: join(folder, 'scratch'), policy: {} };
    const child = fork(CHILD, [JSON.stringify(request)], {
      execArgv: ['--max-old-space-size=32', '--import', 'tsx'],
    });
    const [answer] = (await once(child, 'message')) as [CompactOnceAnswer];
    expect(answer).toMatchObject({ outcome: 'published', foldedObjects: 2, entries: 180_000 });
    expect(answer.memoryMb).toBeLessThan(300);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}, 60_000);
