import type { Logger } from '../log/log.ts';
import { usedBytes, type EnvironmentStatus } from './status.ts';

/** Logs what is in an LMDB, with upstream's fields: one line for the file, one for each DBI. */
export function logStatistics(log: Logger, environment: EnvironmentStatus): void {
  log.info(
    {
      map_size: environment.mapSizeBytes,
      file_size: environment.fileSizeBytes,
      used: usedBytes(environment),
      num_readers: environment.readers,
      max_readers: environment.maxReaders,
      txnID: environment.lastTxnId,
    },
    'LMDB statistics',
  );
  for (const dbi of environment.dbis) {
    log.info(
      {
        DB: dbi.name,
        entries: dbi.entries,
        depth: dbi.depth,
        branch_pages: dbi.branchPages,
        leaf_pages: dbi.leafPages,
        overflow_pages: dbi.overflowPages,
        psize: environment.pageSize,
      },
      'DBI statistics',
    );
  }
}
