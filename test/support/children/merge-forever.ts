import { streamOf } from '../../../protocol/object-name.ts';
import { localDatabase, objectSpool, type ObjectContent } from '../lmdb.ts';

// Merges object after object into the LMDB named by its argument until it is killed: ten keys, all of one value.

async function main(): Promise<void> {
  const file = process.argv[2];
  if (file === undefined) {
    throw new Error('the LMDB is missing');
  }
  const db = localDatabase(file);
  const { vector } = await db.open();
  const stream = streamOf('b', 'runb');
  for (let seq = (vector.get(stream) ?? 0n) + 1n; ; seq += 1n) {
    const entries: ObjectContent[string]['entries'] = {};
    for (let i = 0; i < 10; i += 1) {
      entries[`key-${i}`] = { value: `${seq}`, ts: seq };
    }
    const spool = objectSpool({ zones: { entries } });
    await db.merge({ name: 'x', spool, vector: new Map([[stream, seq]]) });
    process.stdout.write(`${seq}\n`);
  }
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
