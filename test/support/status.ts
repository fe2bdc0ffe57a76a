import type { DatabaseStatus, StatusSource } from '../../agent/monitor/status.ts';

/** Half past three on some day. */
export const NOW_MS = Date.UTC(2026, 0, 2, 3, 30, 0);
/** A name as an attacker in the bucket would choose it. */
export const EVIL_NAME = '<img src=x onerror=alert(1)>';

/** A database in good health; tests change what they are about. */
export function databaseStatus(changes: Partial<DatabaseStatus> = {}): DatabaseStatus {
  return {
    name: 'main',
    path: '/var/lib/pdns.lmdb',
    environment: {
      pageSize: 4096,
      mapSizeBytes: 1_048_576,
      fileSizeBytes: 65_536,
      lastPage: 15,
      lastTxnId: 42,
      readers: 2,
      maxReaders: 126,
      dbis: [
        {
          name: 'records_v5',
          flags: 0,
          entries: 1000,
          depth: 2,
          branchPages: 1,
          leafPages: 10,
          overflowPages: 5,
        },
      ],
    },
    error: undefined,
    mapFull: false,
    started: true,
    lastPassMs: NOW_MS - 1000,
    unsentMs: 3000,
    pendingKeys: 3,
    pendingBytes: 120,
    pendingScan: false,
    vectorSize: 2,
    instances: [{ instance: 'b', newestMs: NOW_MS - 5000, mergedMs: NOW_MS - 9000, lagMs: 4000 }],
    lastMerge: {
      atMs: NOW_MS - 1000,
      object: 'main__b__x',
      entries: 5,
      changed: 1,
      transactions: 1,
      lockHeldMs: 0.5,
      totalMs: 4,
    },
    lastUpload: {
      atMs: NOW_MS - 2000,
      object: 'main__a__x',
      kind: 'delta',
      entries: 1,
      sizeBytes: 300,
      totalMs: 7,
    },
    recent: [
      {
        atMs: NOW_MS - 1000,
        direction: 'merge',
        instance: 'b',
        object: 'main__b__x',
        kind: 'delta',
        entries: 5,
        changed: 1,
        sizeBytes: 400,
        totalMs: 4,
      },
    ],
    rejoin: undefined,
    quarantined: [],
    refused: [],
    regressions: { total: 0, lastMs: undefined },
    futureEntries: { total: 0, lastMs: undefined },
    rescans: { total: 0, lastMs: undefined, reason: '' },
    invalidValues: 0,
    refusedDbis: [],
    unnamedData: undefined,
    sharedName: [],
    ...changes,
  };
}

/** A status source with these databases. */
export function statusSource(...databases: readonly DatabaseStatus[]): StatusSource {
  return {
    instance: 'a',
    version: '1.2.3',
    startedMs: NOW_MS - 60_000,
    databases: () => databases,
    requests: () => new Map([['list', 4]]),
    failedRequests: () => new Map([['list', 1]]),
    notices: () => ({ source: 'poll', trouble: undefined }),
  };
}
