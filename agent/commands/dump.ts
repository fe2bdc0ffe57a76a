import { PageCursor } from '../lmdb/page-cursor.ts';
import { formatByteString } from '../output-format.ts';
import type { CommandContext } from './context.ts';
import { shownName } from '../status.ts';
import { eachDatabase, type PinnedEnvironment } from './read-environment.ts';

export type DumpFlags = { readonly name: string; readonly hide: boolean };

/** Begins the names of DBIs that are never synced. */
const PRIVATE_PREFIX = '_sync';

/** `dump`: all entries of the LMDBs, in the order of each DBI, at one moment. */
export async function dump(context: CommandContext, flags: DumpFlags): Promise<void> {
  const nowNs = BigInt(Math.round(context.deps.now())) * 1_000_000n;
  await eachDatabase(context, flags.name, async (name, pinned) => {
    for (const dbi of pinned.dbis.keys()) {
      if (!(flags.hide && dbi.startsWith(PRIVATE_PREFIX))) {
        context.out.write(`\n### ${name} :: ${shownName(dbi)}\n\n`);
        await dumpDbi(context, { pinned, dbi, nowNs });
      }
    }
  });
}

async function dumpDbi(
  context: CommandContext,
  {
    pinned,
    dbi,
    nowNs,
  }: { readonly pinned: PinnedEnvironment; readonly dbi: string; readonly nowNs: bigint },
): Promise<void> {
  const record = pinned.dbis.get(dbi);
  if (record === undefined) {
    return;
  }
  const cursor = new PageCursor(pinned.file, record);
  while (cursor.next()) {
    if (context.out.isFull) {
      await context.out.drain();
      context.signal.throwIfAborted();
    }
    const key = cursor.keyBuffer.subarray(cursor.keyStart, cursor.keyEnd);
    const value = cursor.valueBuffer.subarray(cursor.valueStart, cursor.valueEnd);
    context.out.write(`${formatByteString(key, nowNs)}  =  ${formatByteString(value, nowNs)}\n`);
  }
}
