import { MemoryObjectStore } from '../../../storage/memory.ts';
import {
  MemoryScratch,
  TestCompactor,
  TestWriter,
  entry,
  names,
  testRandom,
} from '../../support/compaction.ts';

const MIB = 1024 * 1024;

/** One entry that does not compress, of so many bytes. */
function large(key: string, bytes: number) {
  const value = Buffer.from(testRandom(bytes)).toString('latin1');
  return [{ name: 'records', entries: [entry(key, value, 1n)] }];
}

test('a scratch folder that is full blames no object: the run asks for disk, and nothing is touched', async () => {
  const store = new MemoryObjectStore();
  const a = new TestWriter(store, { instance: 'a', run: 'run1' });
  await a.snapshot(large('k', 2 * MIB));
  const before = await names(store);
  const compactor = new TestCompactor(store);
  const scratch = new MemoryScratch({ roomBytes: MIB });
  await expect(compactor.run({ scratch })).rejects.toMatchObject({ code: 'SPOOL_FAILED' });
  expect(await names(store)).toEqual(before);
});
