import type { FuzzTarget } from './target.ts';
import { lmdbPages, storedValue } from './targets/lmdb.ts';
import { bucketMessage, configuration, queueMessage } from './targets/messages.ts';
import { objectName } from './targets/names.ts';
import { snapshotMessage, snapshotObject } from './targets/snapshots.ts';

/** Everything that takes bytes from outside. */
export const TARGETS: readonly FuzzTarget[] = [
  objectName,
  snapshotMessage,
  snapshotObject,
  queueMessage,
  bucketMessage,
  configuration,
  storedValue,
  lmdbPages,
];
