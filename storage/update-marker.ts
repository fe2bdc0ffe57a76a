import { parseObjectName } from '../protocol/object-name.ts';
import { bytesBody } from './bodies.ts';
import type {
  FetchedObject,
  GetOptions,
  ListOptions,
  ObjectBody,
  ObjectInfo,
  ObjectStore,
  PutIfOptions,
} from './object-store.ts';

/** The object that upstream's instances overwrite after each store and delete, and look at instead of listing. */
export const UPDATE_MARKER = 'update-marker';

/** No reader looks more often than ten times a second: what is written closer together shares one marker. */
const GAP_MS = 100;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 60_000;
/** A marker that hangs must not keep the next one waiting, nor the end of the process. */
const ATTEMPT_MS = 10_000;

/** A write that readers must hear of. */
type Written = { readonly name: string; readonly etag: string; readonly deleted: boolean };

/**
 * The marker's text, byte for byte as upstream writes it: name, etag, nanoseconds, and whether it was a deletion. Readers
 * only compare it with what they saw before. Deletions have no etag there; here stores have none either.
 */
export function updateMarkerText(written: Written, nowNs: bigint): string {
  return `${written.name}:${written.etag}:${nowNs}:${written.deleted}`;
}

/** True for what upstream or we may have written; anything else says nothing about the storage. */
export function isUpdateMarkerText(text: string): boolean {
  return /^.+:[^:]*:\d+:(?:true|false)$/s.test(text);
}

export type UpdateMarkerOptions = {
  /** The store itself, without the marker's wrapper. */
  readonly store: ObjectStore;
  /** Put before names in the text, as the store puts it before names. */
  readonly globalPrefix: string;
  /**
   * Objects that only agents of ours read (deltas, bases, manifests) are announced at most once in this time: where
   * those hear of them by notices, a marker for each would double the requests of an upload. 0: each at once.
   */
  readonly ownObjectsGapMs: number;
  readonly nowNs: () => bigint;
  readonly monotonicMs: () => number;
  readonly sleep: (delayMs: number, signal: AbortSignal) => Promise<void>;
  readonly onWritten?: (() => void) | undefined;
  readonly onFailed?: ((error: unknown) => void) | undefined;
};

/**
 * Keeps the marker: after whatever was written or deleted it is overwritten, soon and until that has worked. Never
 * before the write itself has ended, or a reader would list too early and then look at nothing.
 *
 * Upstream lets a store fail with its marker. Here the object counts as stored: whoever lists finds it, and a marker
 * that may not be written must not stop uploads.
 */
export class UpdateMarker {
  readonly #options: UpdateMarkerOptions;
  #due: Written | undefined;
  #isUrgent = false;
  #loop: Promise<void> | undefined;
  #wake = new AbortController();
  #closed = false;
  #failures = 0;
  #lastMs = Number.NEGATIVE_INFINITY;
  #lastNs = 0n;

  constructor(options: UpdateMarkerOptions) {
    this.#options = options;
  }

  /** The object was stored or deleted. Returns at once. */
  note(name: string, options: { deleted: boolean }): void {
    const { globalPrefix } = this.#options;
    this.#due = { name: globalPrefix + name, etag: '', deleted: options.deleted };
    if (!this.#isUrgent && isReadByUpstream(name)) {
      this.#isUrgent = true;
      this.#wake.abort();
    }
    this.#loop ??= this.#run();
  }

  /** Writes what is due, once, without further pauses, and resolves whether or not that worked. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#wake.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (this.#due !== undefined) {
      await this.#pause();
      const due = this.#due;
      this.#due = undefined;
      const wasUrgent = this.#isUrgent;
      this.#isUrgent = false;
      try {
        await this.#write(due);
        this.#failures = 0;
        this.#options.onWritten?.();
      } catch (error) {
        this.#failures += 1;
        this.#options.onFailed?.(error);
        if (this.#closed) {
          break;
        }
        this.#due ??= due;
        this.#isUrgent ||= wasUrgent;
      }
      this.#lastMs = this.#options.monotonicMs();
    }
    this.#loop = undefined;
  }

  async #pause(): Promise<void> {
    const { sleep, monotonicMs } = this.#options;
    while (!this.#closed) {
      const waitMs = this.#lastMs + this.#gapMs() - monotonicMs();
      if (waitMs <= 0) {
        return;
      }
      this.#wake = new AbortController();
      await sleep(waitMs, this.#wake.signal).catch(() => undefined);
    }
  }

  #gapMs(): number {
    if (this.#failures > 0) {
      return Math.min(FIRST_RETRY_MS * 2 ** Math.min(this.#failures - 1, 20), LONGEST_RETRY_MS);
    }
    return this.#isUrgent ? GAP_MS : Math.max(GAP_MS, this.#options.ownObjectsGapMs);
  }

  async #write(written: Written): Promise<void> {
    const nowNs = this.#options.nowNs();
    // A text that was there before would say that nothing has happened.
    this.#lastNs = nowNs > this.#lastNs ? nowNs : this.#lastNs + 1n;
    const body = bytesBody(Buffer.from(updateMarkerText(written, this.#lastNs)));
    await this.#options.store.put(UPDATE_MARKER, body, AbortSignal.timeout(ATTEMPT_MS));
  }
}

/** Upstream looks at full snapshots alone. Names that are none of ours are somebody's snapshot, for all we know. */
function isReadByUpstream(name: string): boolean {
  if (name.endsWith('.json')) {
    return false;
  }
  const kind = parseObjectName(name)?.kind;
  return kind === undefined || kind === 'snapshot';
}

/** A store that keeps the update marker, and shows none in its listings. */
export class MarkedStore implements ObjectStore {
  readonly #store: ObjectStore;
  readonly #marker: UpdateMarker;

  constructor(store: ObjectStore, marker: UpdateMarker) {
    this.#store = store;
    this.#marker = marker;
  }

  /** "exists" is marked too: it is our own earlier attempt, whose answer was lost. */
  async create(name: string, body: ObjectBody, signal: AbortSignal): Promise<'stored' | 'exists'> {
    const outcome = await this.#store.create(name, body, signal);
    this.#marker.note(name, { deleted: false });
    return outcome;
  }

  async put(name: string, body: ObjectBody, signal: AbortSignal): Promise<void> {
    await this.#store.put(name, body, signal);
    this.#marker.note(name, { deleted: false });
  }

  async putIfUnchanged(
    name: string,
    bytes: Uint8Array,
    options: PutIfOptions,
  ): Promise<string | undefined> {
    const etag = await this.#store.putIfUnchanged(name, bytes, options);
    if (etag !== undefined) {
      this.#marker.note(name, { deleted: false });
    }
    return etag;
  }

  async delete(name: string, signal: AbortSignal): Promise<void> {
    await this.#store.delete(name, signal);
    this.#marker.note(name, { deleted: true });
  }

  async *list(prefix: string, options: ListOptions): AsyncGenerator<ObjectInfo, void, void> {
    for await (const info of this.#store.list(prefix, options)) {
      if (info.name !== UPDATE_MARKER) {
        yield info;
      }
    }
  }

  get(name: string, options: GetOptions): Promise<FetchedObject | undefined> {
    return this.#store.get(name, options);
  }

  /** The marker first: what was stored last is to be seen. */
  async close(): Promise<void> {
    await this.#marker.close();
    await this.#store.close();
  }
}
