import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { SyncError } from '../../../protocol/errors.ts';
import { unfinished } from '../../pacing/unfinished.ts';
import type {
  DatabaseOptions,
  DatabaseStats,
  Detection,
  EncodeOptions,
  EncodeResult,
  EntryKey,
  FinishRejoinOptions,
  LocalDatabase,
  MergeRequest,
  MergeResult,
  OpenResult,
  PersistOptions,
  RejoinResult,
  SnapshotOptions,
  ReopenOptions,
  SweepOptions,
  SweepSlice,
} from '../local-database.ts';
import {
  packSpool,
  uncarryError,
  type Method,
  type Request,
  type Response,
} from './worker-protocol.ts';

export type WorkerOptions = {
  /** The bundled worker; unless given, `lmdb-worker.cjs` beside the running bundle. */
  readonly workerPath?: string | undefined;
  /** The thread ended by itself: a bug. All calls reject from then on. */
  readonly onCrash?: ((error: Error) => void) | undefined;
};

type Waiting = {
  readonly resolve: (value: never) => void;
  readonly reject: (error: Error) => void;
  readonly done: () => void;
};

const atWork = new Set<WorkerLocalDatabase>();

/** Whether a thread is at work for a call: it may wait inside LMDB, where nothing can end it but its process' end. */
export function isThreadAtWork(): boolean {
  return atWork.size > 0;
}

/** A LocalDatabase whose work is done in a thread of its own: whoever holds the write lock, this thread goes on. */
export class WorkerLocalDatabase implements LocalDatabase {
  readonly #worker: Worker;
  readonly #name: string;
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #acknowledged: number[] = [];
  #ended: Error | undefined;

  constructor(options: DatabaseOptions, { workerPath, onCrash }: WorkerOptions = {}) {
    this.#name = options.name;
    this.#worker = new Worker(workerPath ?? join(__dirname, 'lmdb-worker.cjs'), {
      workerData: options,
      // Nearly everything dies young here. Merging 1,000,000 new entries peaks at 142 MB with this, at 160 MB without.
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
      name: `lmdb ${options.name}`,
    });
    this.#worker.on('message', (response: Response) => this.#receive(response));
    const end = (error: Error) => {
      if (this.#ended !== undefined) {
        return;
      }
      this.#ended = error;
      for (const { reject, done } of this.#waiting.values()) {
        done();
        reject(error);
      }
      this.#waiting.clear();
      atWork.delete(this);
      onCrash?.(error);
    };
    this.#worker.on('error', (cause) => end(crashed(options.name, cause.message, cause)));
    this.#worker.on('exit', (code) => end(crashed(options.name, `exit code ${code}`)));
  }

  open(): Promise<OpenResult> {
    return this.#call('open');
  }

  detect(): Promise<Detection> {
    return this.#call('detect');
  }

  encodeDelta(options: EncodeOptions): Promise<EncodeResult> {
    return this.#call('encodeDelta', options);
  }

  encodeSnapshot(options: SnapshotOptions): Promise<EncodeResult> {
    return this.#call('encodeSnapshot', options);
  }

  /** They travel with the next call, whichever it is: a message of its own wakes the thread for nothing. */
  acknowledge(token: number): Promise<void> {
    this.#acknowledged.push(token);
    return Promise.resolve();
  }

  giveBack(token: number): Promise<Detection> {
    return this.#call('giveBack', token);
  }

  merge(request: MergeRequest): Promise<MergeResult> {
    const { spool, transfer } = packSpool(request.spool, { mayTake: false });
    return this.#send('merge', [{ ...request, spool }], transfer);
  }

  persist(options: PersistOptions): Promise<Detection> {
    return this.#call('persist', options);
  }

  sweep(options: SweepOptions): Promise<SweepSlice> {
    return this.#call('sweep', options);
  }

  beginRejoin(): Promise<void> {
    return this.#call('beginRejoin');
  }

  abandonRejoin(): Promise<void> {
    return this.#call('abandonRejoin');
  }

  finishRejoin(options: FinishRejoinOptions): Promise<RejoinResult> {
    return this.#call('finishRejoin', options);
  }

  values(entries: readonly EntryKey[]): Promise<(Uint8Array | undefined)[]> {
    return this.#call('values', entries);
  }

  stats(): Promise<DatabaseStats> {
    return this.#call('stats');
  }

  reopen(options: ReopenOptions): Promise<OpenResult> {
    // Of the run that ends.
    this.#acknowledged = [];
    return this.#call('reopen', options);
  }

  /** Closes the LMDB and ends the thread. */
  async close(): Promise<void> {
    if (this.#ended === undefined) {
      await this.#call('close');
      this.#ended = new SyncError('ENVIRONMENT_UNREADABLE', 'the database is closed');
    }
    await this.#worker.terminate();
  }

  #call<T>(method: Method, ...args: readonly unknown[]): Promise<T> {
    return this.#send(method, args, []);
  }

  #send<T>(method: Method, args: readonly unknown[], transfer: ArrayBuffer[]): Promise<T> {
    if (this.#ended !== undefined) {
      return Promise.reject(this.#ended);
    }
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<T>((resolve, reject) => {
      const done = unfinished.begin(`the LMDB of ${this.#name} (${method})`);
      this.#waiting.set(id, { resolve, reject, done });
      atWork.add(this);
      const acknowledged = this.#acknowledged;
      this.#acknowledged = [];
      this.#worker.postMessage({ id, method, args, acknowledged } satisfies Request, transfer);
    });
  }

  #receive(response: Response): void {
    const waiting = this.#waiting.get(response.id);
    this.#waiting.delete(response.id);
    if (this.#waiting.size === 0) {
      atWork.delete(this);
    }
    if (waiting === undefined) {
      return;
    }
    waiting.done();
    if ('error' in response) {
      waiting.reject(uncarryError(response.error));
    } else {
      waiting.resolve(response.result as never);
    }
  }
}

function crashed(name: string, what: string, cause?: unknown): SyncError {
  return new SyncError('ENVIRONMENT_UNREADABLE', `the LMDB thread of ${name} ended: ${what}`, {
    hint: 'Start the agent again, and report this with the log.',
    cause,
  });
}
