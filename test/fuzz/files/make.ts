import { readFileSync, writeFileSync } from 'node:fs';
import { DBI_KINDS, ModelWriter } from '../../support/lmdb-writer/model.ts';
import { openTestLmdb } from '../../support/lmdb-writer/env.ts';
import { Random } from '../../support/lmdb-writer/random.ts';

const PAGE_BYTES = 512;
const SEED = 1;

/**
 * Makes small-pages.mdb, once, by hand: `npx tsx test/fuzz/files/make.ts`. On pages this small there are trees of several
 * levels of every kind of DBI, and the last two states are both whole in the file.
 */
async function main(): Promise<void> {
  const lmdb = openTestLmdb({ pageSize: PAGE_BYTES });
  const options = { maxEntries: 24, pageSize: PAGE_BYTES };
  const writer = new ModelWriter(lmdb.env, new Random(SEED), options);
  for (const [index, kind] of DBI_KINDS.entries()) {
    writer.fill(writer.createDbi(`dbi-${index}`, kind), 14);
  }
  const pin = lmdb.pin();
  writer.step();
  writeFileSync('test/fuzz/files/small-pages.mdb', readFileSync(lmdb.path));
  pin.done();
  await lmdb.close();
}

void main();
