import type { Environment } from '../environment.ts';
import type { DatabaseStats } from '../local-database.ts';
import { listDbis } from '../pages/data-file.ts';

/** The LMDB as of now, for people: sizes, readers and DBIs. */
export function statsOf(environment: Environment): DatabaseStats {
  const { file } = environment;
  const read = environment.beginRead();
  try {
    const dbis = [...listDbis(file, read.meta)].map(([name, record]) => ({ name, ...record }));
    const readers = environment.readers();
    return {
      pageSize: file.pageSize,
      mapSizeBytes: read.meta.mapSizeBytes,
      fileSizeBytes: file.sizeBytes(),
      lastPage: read.meta.lastPage,
      lastTxnId: read.meta.txnId,
      readers: readers.used,
      maxReaders: readers.max,
      dbis,
    };
  } finally {
    read.close();
  }
}
