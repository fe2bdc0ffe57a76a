import { parentPort, workerData } from 'node:worker_threads';
import assert from 'node:assert';
import { systemClock } from '../system-clock.ts';
import { DirectLocalDatabase } from './direct-database.ts';
import type { DatabaseOptions, LocalDatabase } from './local-database.ts';
import { carryError, type Request, type Response } from './worker-protocol.ts';

// The thread that does one database's LMDB work. It may block for the write lock as long as it takes; nothing but
// this database waits for it.

const port = parentPort;
assert(port !== null, 'this file runs as a worker thread');
const database: LocalDatabase = new DirectLocalDatabase(workerData as DatabaseOptions, systemClock);

port.on('message', ({ id, method, args }: Request) => {
  // The client's types are those of LocalDatabase.
  const call = database[method] as (...values: readonly unknown[]) => Promise<unknown>;
  call.apply(database, [...args]).then(
    (result) => port.postMessage({ id, result } satisfies Response),
    (error: unknown) => port.postMessage({ id, error: carryError(error) } satisfies Response),
  );
});
