import { formatDbiFlags } from '../config/value-types.ts';
import { findCost } from './cost-estimate.ts';
import {
  dbiUsedBytes,
  shownName,
  usedBytes,
  type DatabaseStatus,
  type StatusSource,
} from '../monitor/status.ts';

/** The status as plain JSON: what `/status.json` gives and the page shows. Times are milliseconds since the epoch. */
export function statusJson(source: StatusSource, nowMs: number) {
  return {
    instance: source.instance,
    version: source.version,
    time: nowMs,
    uptime_seconds: Math.max(0, Math.round((nowMs - source.startedMs) / 1000)),
    requests: Object.fromEntries(source.requests()),
    failed_requests: Object.fromEntries(source.failedRequests()),
    notices: noticesJson(source),
    cost: costJson(source, nowMs),
    databases: source.databases().map(databaseJson),
  };
}

function noticesJson(source: StatusSource) {
  const { source: kind, trouble } = source.notices();
  return {
    source: kind,
    trouble: trouble ? { since: trouble.sinceMs, error: trouble.error } : null,
  };
}

function costJson(source: StatusSource, nowMs: number) {
  const cost = findCost(source, nowMs);
  if (cost === undefined) {
    return null;
  }
  return {
    dollars_per_month: cost.month,
    dollars_per_month_listing: cost.monthListing,
    poll_interval_ms: cost.pollIntervalMs,
    prices: cost.prices,
  };
}

function databaseJson(status: DatabaseStatus) {
  const { environment } = status;
  return {
    name: status.name,
    path: status.path,
    error: status.error ?? null,
    map_full: status.mapFull,
    started: status.started,
    map_size: environment?.mapSizeBytes ?? null,
    file_size: environment?.fileSizeBytes ?? null,
    used: environment === undefined ? null : usedBytes(environment),
    last_txn_id: environment?.lastTxnId ?? null,
    readers: environment?.readers ?? null,
    max_readers: environment?.maxReaders ?? null,
    dbis: (environment?.dbis ?? []).map((dbi) => ({
      name: dbi.name,
      used: dbiUsedBytes(dbi, environment?.pageSize ?? 0),
      entries: dbi.entries,
      depth: dbi.depth,
      branch_pages: dbi.branchPages,
      leaf_pages: dbi.leafPages,
      overflow_pages: dbi.overflowPages,
      flags: formatDbiFlags(dbi.flags),
    })),
    pending: {
      keys: status.pendingKeys,
      bytes: status.pendingBytes,
      scan: status.pendingScan,
    },
    vector_size: status.vectorSize,
    instances: status.instances.map(({ instance, newestMs, mergedMs, lagMs }) => ({
      instance,
      newest: newestMs,
      merged: mergedMs ?? null,
      lag_ms: lagMs,
    })),
    last_merge: status.lastMerge ?? null,
    last_upload: status.lastUpload ?? null,
    recent: status.recent.map(
      ({ atMs, direction, instance, object, kind, entries, changed, sizeBytes, totalMs }) => ({
        at: atMs,
        direction,
        instance,
        object,
        kind,
        entries,
        changed,
        size: sizeBytes,
        total_ms: totalMs,
      }),
    ),
    rejoin: status.rejoin
      ? { last_sync: status.rejoin.lastSyncMs, postponed: status.rejoin.postponed ?? null }
      : null,
    quarantined: status.quarantined.map(({ name, error }) => ({ name, error })),
    regressions: status.regressions.total,
    future_entries: status.futureEntries.total,
    invalid_values: status.invalidValues,
    held_schema_version: status.heldSchema?.version ?? null,
    refused_dbis: status.refusedDbis.map(({ name }) => shownName(name)),
    unnamed_data: status.unnamedData ?? null,
    entries_left_out: status.leftOut?.entries ?? 0,
    received_entries_left_out: status.receivedLeftOut?.entries ?? 0,
    shared_name: status.sharedName,
  };
}
