import { formatDbiFlags } from '../../config/value-types.ts';
import { formatBytes } from '../../log/output-format.ts';
import type { CommandContext } from './context.ts';
import { shownName } from '../../monitor/status.ts';
import { eachDatabase, type PinnedEnvironment } from './read-environment.ts';

export type StatsFlags = { readonly json: boolean };

/** `stats`: what the LMDBs hold and how full they are. */
export async function stats(context: CommandContext, flags: StatsFlags): Promise<void> {
  await eachDatabase(context, '', (name, pinned) => {
    context.out.write(flags.json ? statsJson(name, pinned) : statsText(name, pinned));
  });
}

function statsText(name: string, { meta, dbis, readers }: PinnedEnvironment): string {
  const lines = [
    `${name}: Env info: {MapSize:${meta.mapSizeBytes} LastPNO:${meta.lastPage} LastTxnID:${meta.txnId} MaxReaders:${readers.max} NumReaders:${readers.used}}`,
  ];
  let used = 0;
  for (const [dbi, record] of dbis) {
    const pages = record.branchPages + record.leafPages + record.overflowPages;
    used += pages * meta.pageSize;
    lines.push(
      `${name}: dbi ${shownName(dbi)}: {PSize:${meta.pageSize} Depth:${record.depth} BranchPages:${record.branchPages} LeafPages:${record.leafPages} OverflowPages:${record.overflowPages} Entries:${record.entries}} (${formatBytes(pages * meta.pageSize)})`,
    );
  }
  const percent = ((100 * used) / Math.max(1, meta.mapSizeBytes)).toFixed(1);
  lines.push(
    `${name}: Total Used: ${formatBytes(used)} / ${formatBytes(meta.mapSizeBytes)} (~ ${percent} %)`,
  );
  return `${lines.join('\n')}\n`;
}

function statsJson(name: string, { meta, dbis, readers }: PinnedEnvironment): string {
  return `${JSON.stringify({
    name,
    map_size: meta.mapSizeBytes,
    page_size: meta.pageSize,
    last_page: meta.lastPage,
    last_txn_id: meta.txnId,
    readers: readers.used,
    max_readers: readers.max,
    dbis: [...dbis].map(([dbi, record]) => ({
      name: shownName(dbi),
      flags: formatDbiFlags(record.flags),
      entries: record.entries,
      depth: record.depth,
      branch_pages: record.branchPages,
      leaf_pages: record.leafPages,
      overflow_pages: record.overflowPages,
    })),
  })}\n`;
}
