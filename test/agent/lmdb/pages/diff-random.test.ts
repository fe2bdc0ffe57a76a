import { collectPages } from '../../../../agent/lmdb/pages/diff.ts';
import { DataFile } from '../../../../agent/lmdb/pages/data-file.ts';
import { diffLines, scanLines } from '../../../support/lmdb-writer/diff.ts';
import { openTestLmdb } from '../../../support/lmdb-writer/env.ts';
import { ModelWriter, changeLine } from '../../../support/lmdb-writer/model.ts';
import { Random } from '../../../support/lmdb-writer/random.ts';

// A soak: PAGE_DIFF_STEPS=1000000 PAGE_DIFF_SEED=7 npx jest page-diff-random
const steps = Number(process.env['PAGE_DIFF_STEPS'] ?? 1000);
const seed = Number(process.env['PAGE_DIFF_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const maxEntries = Number(process.env['PAGE_DIFF_ENTRIES'] ?? 600);

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

// Small pages make deep trees out of few entries.
test.each([4096, 1024, 512])(
  'random work on DBIs of every kind, pages of %i bytes: each diff is what changed, and the page set stays that of the tree',
  async (pageSize) => {
    const lmdb = openTestLmdb({ pageSize });
    const writer = new ModelWriter(lmdb.env, new Random(seed), { maxEntries, pageSize });
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
      requireSame(
        'diff',
        step,
        diffLines(file, meta, next, pages).sort(),
        writer.expectedChanges(),
      );
      const unread = collectPages(file, next, { leavesUnread: true });
      if (!pages.equals(collectPages(file, next)) || !pages.equals(unread)) {
        throw new Error(`page set: PAGE_DIFF_SEED=${seed}, step ${step}: not that of the new tree`);
      }
      if (step % 100 === 0 || step === steps - 1) {
        requireSame('scan', step, scanLines(file, next), modelLines(writer));
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
    expect(writer.operations).toBeGreaterThan(steps);
    pin.done();
    file.close();
    await lmdb.close();
  },
  Math.max(60_000, steps * 50),
);
