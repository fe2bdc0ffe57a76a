import { collectPages, diffPages } from '../../../agent/lmdb/page-diff.ts';
import { PageCursor } from '../../../agent/lmdb/page-cursor.ts';
import { DataFile, listDbis } from '../../../agent/lmdb/page.ts';
import type { Meta } from '../../../agent/lmdb/page.ts';
import type { PageSet } from '../../../agent/lmdb/page-set.ts';
import { openTestLmdb } from '../../support/lmdb-writer-env.ts';
import { ModelWriter, Random, changeLine } from '../../support/lmdb-writer-model.ts';

// A soak: PAGE_DIFF_STEPS=1000000 PAGE_DIFF_SEED=7 npx jest --selectProjects unit page-diff-random
const steps = Number(process.env['PAGE_DIFF_STEPS'] ?? 2500);
const seed = Number(process.env['PAGE_DIFF_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const maxEntries = Number(process.env['PAGE_DIFF_ENTRIES'] ?? 600);

function text(buffer: Buffer, start: number, end: number): string {
  return buffer.toString('latin1', start, end);
}

function diffLines(file: DataFile, from: Meta, to: Meta, pages: PageSet): string[] {
  const lines: string[] = [];
  let dbiName = '';
  diffPages(file, from, to, pages, {
    onDbi: (name) => {
      dbiName = name;
    },
    onChange: (c) => {
      const key = text(c.keyBuffer, c.keyStart, c.keyEnd);
      const oldValue = c.hasOld ? text(c.oldBuffer, c.oldStart, c.oldEnd) : undefined;
      const newValue = c.hasNew ? text(c.newBuffer, c.newStart, c.newEnd) : undefined;
      lines.push(changeLine(dbiName, key, oldValue, newValue));
    },
  });
  return lines.sort();
}

function scan(file: DataFile, meta: Meta): string[] {
  const lines: string[] = [];
  for (const [name, db] of listDbis(file, meta)) {
    const cursor = new PageCursor(file, db);
    while (cursor.next()) {
      const key = text(cursor.keyBuffer, cursor.keyStart, cursor.keyEnd);
      lines.push(
        changeLine(
          name,
          key,
          undefined,
          text(cursor.valueBuffer, cursor.valueStart, cursor.valueEnd),
        ),
      );
    }
  }
  return lines.sort();
}

function modelLines(writer: ModelWriter): string[] {
  const lines: string[] = [];
  for (const [name, dbi] of writer.dbis) {
    for (const [key, values] of dbi.data) {
      for (const value of values) {
        lines.push(changeLine(name, key, undefined, value));
      }
    }
  }
  return lines.sort();
}

function requireSame(
  what: string,
  step: number,
  found: readonly string[],
  wanted: readonly string[],
): void {
  const at = wanted.findIndex((line, index) => line !== found[index]);
  if (at >= 0 || found.length !== wanted.length) {
    const index = at < 0 ? wanted.length : at;
    const show = (line: string | undefined): string => JSON.stringify(line?.slice(0, 200));
    throw new Error(
      `${what}: PAGE_DIFF_SEED=${seed}, step ${step}: line ${index} of ${wanted.length} should be ` +
        `${show(wanted[index])}, is ${show(found[index])} (${found.length} lines)`,
    );
  }
}

test(
  'random work on DBIs of every kind: each diff is what changed, and the page set stays that of the tree',
  async () => {
    const lmdb = openTestLmdb();
    const writer = new ModelWriter(lmdb.env, new Random(seed), maxEntries);
    // Plain entries beside the DBIs: an application may have them, and nobody reports them.
    lmdb.env.putSync(Buffer.from('plain'), Buffer.from('entry'));
    let pin = lmdb.pin();
    const file = DataFile.open(lmdb.path);
    let meta = file.readMeta();
    const pages = collectPages(file, meta);
    for (let step = 0; step < steps; step += 1) {
      if (step % 40 === 0) {
        lmdb.env.putSync(Buffer.from(`plain-${step % 7}`), Buffer.alloc(step % 5000));
      }
      writer.step();
      const nextPin = lmdb.pin();
      const next = file.readMeta();
      requireSame('diff', step, diffLines(file, meta, next, pages), writer.expectedChanges());
      if (!pages.equals(collectPages(file, next))) {
        throw new Error(`page set: PAGE_DIFF_SEED=${seed}, step ${step}: not that of the new tree`);
      }
      if (step % 100 === 0 || step === steps - 1) {
        requireSame('scan', step, scan(file, next), modelLines(writer));
      }
      pin.done();
      pin = nextPin;
      meta = next;
    }
    if (steps > 10_000) {
      process.stdout.write(
        `${steps} steps, ${writer.operations} operations, transaction ${meta.txnId}, ` +
          `${file.sizeBytes() / 2 ** 20} MiB, seed ${seed}\n`,
      );
    }
    pin.done();
    file.close();
    await lmdb.close();
  },
  Math.max(60_000, steps * 50),
);
