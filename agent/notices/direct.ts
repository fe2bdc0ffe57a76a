import { errorText } from '../../protocol/errors.ts';
import { encodeNotice } from '../../protocol/notice.ts';
import { parseObjectName } from '../../protocol/object-name.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
} from '../../storage/object-store.ts';
import type { Logger } from '../log/log.ts';
import { abortedAfter, type Sleep } from '../pacing/sleep.ts';
import { QUEUE_BATCH_MAX, type QueueService } from './queue-service.ts';

/** Notices that wait to be sent; beyond, the bucket's own events have to do. */
const WAITING_MAX = 100;
/** How long the end of the agent waits for what is being sent. */
const LAST_SEND_MS = 2_000;

export type DirectNoticesOptions = {
  readonly queues: QueueService;
  readonly queueUrl: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly sleep: Sleep;
  readonly log: Logger;
};

/**
 * Tells the ingest queue about own uploads, sooner than the bucket's event does. Best effort: what cannot be sent is
 * dropped with a log line, because the event stays the guarantee.
 */
export class DirectNotices {
  readonly #options: DirectNoticesOptions;
  readonly #waiting: string[] = [];
  readonly #stop = new AbortController();
  #sending: Promise<void> | undefined;
  #failing = false;

  constructor(options: DirectNoticesOptions) {
    this.#options = options;
  }

  /** The object was stored. Names that are none of ours say nothing. Returns at once. */
  announce(name: string, sizeBytes: number): void {
    const object = parseObjectName(name);
    if (object === undefined || this.#waiting.length >= WAITING_MAX) {
      return;
    }
    const { database, instance } = object;
    const eventTimeMs = this.#options.now();
    this.#waiting.push(
      encodeNotice({ version: 1, database, instance, name, sizeBytes, eventTimeMs }),
    );
    this.#sending ??= this.#sendAll();
  }

  /** Waits a moment for what is being sent. */
  async close(): Promise<void> {
    const { sleep } = this.#options;
    await abortedAfter(this.#sending ?? Promise.resolve(), {
      delayMs: LAST_SEND_MS,
      sleep,
      stop: this.#stop,
    });
  }

  async #sendAll(): Promise<void> {
    const { queues, queueUrl, log } = this.#options;
    while (this.#waiting.length > 0 && !this.#stop.signal.aborted) {
      const bodies = this.#waiting.splice(0, QUEUE_BATCH_MAX);
      try {
        const refused = await queues.send(queueUrl, bodies, this.#stop.signal);
        if (refused > 0) {
          log.debug({ refused }, 'direct notices were refused');
        }
        this.#failing = false;
      } catch (error) {
        const tell = this.#failing ? log.debug.bind(log) : log.warn.bind(log);
        this.#failing = true;
        tell(
          { error: errorText(error) },
          'cannot send direct notices; the events of the bucket announce the objects',
        );
      }
    }
    this.#sending = undefined;
  }
}

/** A store that announces what it has stored. */
export class AnnouncingStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #notices: DirectNotices;

  constructor(store: ObjectStore, notices: DirectNotices) {
    this.#store = store;
    this.#notices = notices;
  }

  /** "exists" is announced too: it is our own earlier attempt, whose answer was lost. */
  async create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    const outcome = await this.#store.create(name, body, signal);
    this.#notices.announce(name, body.sizeBytes);
    return outcome;
  }

  list(prefix: string, options: ListOptions): AsyncIterable<ObjectInfo> {
    return this.#store.list(prefix, options);
  }

  get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    return this.#store.get(name, options);
  }

  put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    return this.#store.put(name, body, signal);
  }

  putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined> {
    return this.#store.putIfUnchanged(name, bytes, options);
  }

  delete(name: string, signal: AbortSignal): Promise<void> {
    return this.#store.delete(name, signal);
  }

  /** The notices first: whoever reads them needs no open store of ours. */
  async close(): Promise<void> {
    await this.#notices.close();
    await this.#store.close();
  }
}
