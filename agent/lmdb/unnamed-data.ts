import fs from 'node:fs';
import { SyncError } from '../../protocol/errors.ts';
import { isPrivateDbi } from '../../protocol/dbi-name.ts';
import {
  DataFile,
  findUnnamedData,
  listDbis,
  type Meta,
  type UnnamedData,
} from './pages/data-file.ts';

/** A file whose writer commits faster than its main database is read is looked at again when it is open. */
const LOOKS = 100;
/** From the second transaction after a state on its pages may be used again, unless somebody pins them. */
const SAFE_TXNS = 1;

export type UnnamedDataOptions = {
  /** The agent runs: what is refused now may be fine later. */
  readonly isOpen?: boolean;
  /** What an earlier version of us wrote beside the application's entries may be removed. */
  readonly mayRepair?: boolean;
};

/**
 * Refuses an LMDB whose application keeps its data in the main database, before anything is opened or made beside it.
 * A missing or empty file is fine. Errors: ENVIRONMENT_UNREADABLE.
 */
export function refuseUnnamedData(dataPath: string, options: UnnamedDataOptions = {}): void {
  const size = fs.statSync(dataPath, { throwIfNoEntry: false })?.size ?? 0;
  if (size === 0) {
    return;
  }
  using file = DataFile.open(dataPath);
  for (let look = 0; look < LOOKS; look += 1) {
    const meta = file.readMeta();
    // Nothing pins it: what was read counts only if nobody can have used its pages again meanwhile.
    const isSure = () => file.readMeta().txnId <= meta.txnId + SAFE_TXNS;
    try {
      requireNamedData(file, meta, options);
    } catch (error) {
      if (isSure()) {
        throw error;
      }
      continue;
    }
    if (isSure()) {
      return;
    }
  }
}

/**
 * Refuses a state whose main database holds anything but DBIs. We would write our own records into the application's
 * table. Errors: ENVIRONMENT_UNREADABLE, retryable where the agent runs already (`isOpen`).
 */
export function requireNamedData(
  file: DataFile,
  meta: Meta,
  options: UnnamedDataOptions = {},
): void {
  const unnamed = findUnnamedData(file, meta);
  if (unnamed === undefined) {
    return;
  }
  const hasOurs = [...listDbis(file, meta).keys()].some(isPrivateDbi);
  // In another order LMDB would not find our names, and would make them once more.
  if (options.mayRepair === true && hasOurs && unnamed.what === 'entry') {
    return;
  }
  throw new SyncError(
    'ENVIRONMENT_UNREADABLE',
    `the main database of ${file.path} ${unnamedText(unnamed)}: nothing may be written into it`,
    {
      hint:
        unnamed.what === 'order'
          ? 'Check the file with mdb_dump, and restore it if names are missing.'
          : hasOurs && options.isOpen !== true
            ? 'Take this LMDB out of `lmdbs:`; "drop-shadow" removes what an earlier version wrote into it.'
            : 'Take this LMDB out of `lmdbs:`, or let the application keep its data in a named database.',
      retryable: options.isOpen === true,
    },
  );
}

/** What is wrong with a main database, as the end of a sentence. */
export function unnamedText(unnamed: UnnamedData): string {
  switch (unnamed.what) {
    case 'entry':
      return `holds the application's own entries, the first is "${printable(unnamed.key)}"`;
    case 'flags':
      return "is made for the application's own entries (MDB_DUPSORT or MDB_INTEGERKEY)";
    case 'order':
      return 'is not in the order of its flags';
  }
}

function printable(key: string): string {
  return Buffer.from(key, 'latin1')
    .toString('utf8')
    .replaceAll(/\p{Cc}/gu, '.');
}
