import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';

import { collectPages } from '../../../../agent/lmdb/pages/diff.ts';
import { DataFile } from '../../../../agent/lmdb/pages/data-file.ts';
import { diffLines, scanLines } from '../../../support/lmdb-writer/diff.ts';
import { openTestLmdb } from '../../../support/lmdb-writer/env.ts';

// A soak: PAGE_CONCURRENT_TRANSACTIONS=2000000 npx jest page-concurrent
const transactions = Number(process.env['PAGE_CONCURRENT_TRANSACTIONS'] ?? 15_000);
const writer = path.join(__dirname, '../../../support/lmdb-writer/writer.cjs');

function startWriter(file: string): Promise<unknown> {
  return promisify(execFile)(process.execPath, [writer, file, String(transactions), '4711']);
}

/** The state that diffs alone lead to: one line "dbi|key|-|=value" for each entry, as scans have them. */
class Replica {
  readonly #lines = new Set<string>();

  /** Throws where a change does not fit what is there: one was missed before, or this one is invented. */
  apply(changes: readonly string[]): void {
    for (const line of changes) {
      const [dbi, key, oldValue, newValue] = line.split('|');
      if (oldValue !== '-' && !this.#lines.delete(`${dbi}|${key}|-|${oldValue}`)) {
        throw new Error(`a change of what was not there: ${line.slice(0, 100)}`);
      }
      if (newValue !== '-') {
        const added = `${dbi}|${key}|-|${newValue}`;
        if (this.#lines.has(added) || oldValue === newValue) {
          throw new Error(`an invented change: ${line.slice(0, 100)}`);
        }
        this.#lines.add(added);
      }
    }
  }

  lines(): string[] {
    return [...this.#lines].sort();
  }
}

test(
  'while another process writes at full speed, diffs miss nothing, invent nothing, and the file stays small',
  async () => {
    const alone = openTestLmdb({ mapSize: 4 * 1024 ** 3 });
    await startWriter(alone.path);
    const aloneBytes = fs.statSync(alone.path).size;
    await alone.close();

    const lmdb = openTestLmdb({ mapSize: 4 * 1024 ** 3 });
    const file = DataFile.open(lmdb.path);
    let pin = lmdb.pin();
    let meta = file.readMeta();
    const pages = collectPages(file, meta);
    const replica = new Replica();
    let isWriting = true;
    const writing = startWriter(lmdb.path).finally(() => {
      isWriting = false;
    });
    let diffs = 0;
    let transactionsSeen = 0;
    for (let isLast = false; !isLast;) {
      await new Promise(setImmediate);
      isLast = !isWriting;
      const nextPin = lmdb.pin();
      const next = file.readMeta();
      replica.apply(diffLines(file, meta, next, pages, 'hex'));
      if (next.txnId > meta.txnId) {
        diffs += 1;
        transactionsSeen += next.txnId - meta.txnId;
      }
      pin.done();
      pin = nextPin;
      meta = next;
      if (diffs % 16 === 0 || isLast) {
        expect(replica.lines()).toEqual(scanLines(file, next, 'hex'));
      }
    }
    await writing;
    expect(pages.equals(collectPages(file, meta))).toBe(true);
    expect(diffs).toBeGreaterThan(10);
    // A pin held all the time keeps at least six pages of each transaction, several hundred MiB here. What is kept
    // during one diff depends on how the processes are scheduled; half of the first is far above it.
    const heldBytes = transactionsSeen * 6 * 4096;
    if (transactions > 100_000) {
      process.stdout.write(
        `${diffs} diffs, ${transactionsSeen} transactions, ${file.sizeBytes()} bytes (alone ${aloneBytes})\n`,
      );
    }
    expect(file.sizeBytes()).toBeLessThan(aloneBytes + Math.max(heldBytes / 2, 16 * 1024 * 1024));
    pin.done();
    file.close();
    await lmdb.close();
  },
  60_000 + transactions,
);
