import { parentPort, workerData } from 'node:worker_threads';
import assert from 'node:assert';
import { systemClock } from '../../pacing/system-clock.ts';
import { DirectLocalDatabase } from './direct-database.ts';
import type {
  DatabaseOptions,
  EncodedObject,
  EncodeResult,
  LocalDatabase,
} from '../local-database.ts';
import { carryError, packSpool, type Request, type Response } from './worker-protocol.ts';

// The thread that does one database's LMDB work. It may block for the write lock as long as it takes; nothing but
// this database waits for it.

const port = parentPort;
assert(port !== null, 'this file runs as a worker thread');
const database: LocalDatabase = new DirectLocalDatabase(workerData as DatabaseOptions, systemClock);

function answer(id: number, result: unknown): void {
  const { object, news } = (result ?? {}) as Partial<EncodeResult>;
  if (object === undefined) {
    port?.postMessage({ id, result } satisfies Response);
    return;
  }
  const packed = packObject(object);
  const packedNews = news && packObject(news);
  const whole = { ...(result as EncodeResult), object: packed.object, news: packedNews?.object };
  const transfer = [...packed.transfer, ...(packedNews?.transfer ?? [])];
  port?.postMessage({ id, result: whole } satisfies Response, transfer);
}

function packObject(object: EncodedObject): { object: EncodedObject; transfer: ArrayBuffer[] } {
  const { spool, transfer } = packSpool(object.spool, { mayTake: true });
  return { object: { ...object, spool }, transfer };
}

port.on('message', ({ id, method, args, acknowledged }: Request) => {
  // Calls are carried out in their order, and this one cannot fail.
  for (const token of acknowledged) {
    void database.acknowledge(token);
  }
  // The client's types are those of LocalDatabase.
  const call = database[method] as (...values: readonly unknown[]) => Promise<unknown>;
  call.apply(database, [...args]).then(
    (result) => answer(id, result),
    (error: unknown) => port.postMessage({ id, error: carryError(error) } satisfies Response),
  );
});
