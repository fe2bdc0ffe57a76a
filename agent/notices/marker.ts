import { errorText } from '../../protocol/errors.ts';
import { Deadline } from '../../storage/deadline.ts';
import type { ObjectStore } from '../../storage/object-store.ts';
import { isUpdateMarkerText, UPDATE_MARKER } from '../../storage/update-marker.ts';
import { readBounded } from '../../storage/read-bounded.ts';
import type { Logger } from '../log/log.ts';
import { slept, type Sleep } from '../pacing/sleep.ts';
import type { NoticeObserver } from './observer.ts';
import type { NoticeSource, OnNotice } from './source.ts';

/** Where trouble with writing the marker goes: `/healthz`, and one line in the log for as long as it lasts. */
export function markerReports(
  observer: Pick<NoticeObserver, 'markerWritten' | 'markerFailed'>,
  log: Logger,
): { readonly onWritten: () => void; readonly onFailed: (error: unknown) => void } {
  let failing = false;
  return {
    onWritten: () => {
      failing = false;
      observer.markerWritten();
    },
    onFailed: (error) => {
      observer.markerFailed(error);
      if (failing) {
        return;
      }
      failing = true;
      log.warn(
        { filename: UPDATE_MARKER, error: errorText(error) },
        'cannot write the update marker, trying again: others find what is stored here at their forced listing; this instance must be allowed to write that object',
      );
    },
  };
}

/** A name of 1,024 bytes with what stands behind it; upstream writes no more. */
const MARKER_MAX_BYTES = 4096;
const MISSING = 'there is no update marker in the storage yet';
/** A marker that hangs must not keep the listing waiting, which may work. */
const LOOK_MS = 10_000;

export type MarkerNoticesOptions = {
  /** The store whose marker is looked at. */
  readonly store: ObjectStore;
  readonly intervalMs: number;
  /** A listing pass is asked for this often although the marker stays the same. */
  readonly forceListIntervalMs: number;
  readonly sleep: Sleep;
  readonly monotonicMs: () => number;
  readonly log: Logger;
  readonly onWorked?: (() => void) | undefined;
  readonly onFailed?: ((error: unknown) => void) | undefined;
};

/**
 * Looks at upstream's update marker every interval, one small GET for all databases, and asks for a listing pass only
 * where its text is another one, and once in the forced interval. Listings themselves are never answered from memory: what
 * the rules of sync and cleaning conclude from them holds.
 *
 * The marker is read before the pass lists, so what is stored in between is either listed or changes the marker after
 * it was read. Where there is no marker, or none that can be read, every look asks for a pass, as polling does.
 */
export class MarkerNotices implements NoticeSource {
  readonly kind = 'marker';
  readonly #options: MarkerNoticesOptions;
  #trouble = '';

  constructor(options: MarkerNoticesOptions) {
    this.#options = options;
  }

  async run(onNotice: OnNotice, signal: AbortSignal): Promise<void> {
    const { intervalMs, forceListIntervalMs, sleep, monotonicMs } = this.#options;
    let seen: string | undefined;
    let listedMs = Number.NEGATIVE_INFINITY;
    do {
      const nowMs = monotonicMs();
      const text = await this.#look(signal);
      if (signal.aborted) {
        return;
      }
      if (text === undefined || text !== seen || nowMs - listedMs >= forceListIntervalMs) {
        listedMs = nowMs;
        onNotice('list');
      }
      seen = text;
    } while (await slept(sleep, intervalMs, signal));
  }

  /** The marker's text; undefined: nothing that says whether anything has changed. */
  async #look(signal: AbortSignal): Promise<string | undefined> {
    const { store, onWorked, onFailed } = this.#options;
    using limit = new Deadline(signal, LOOK_MS, { action: `read ${UPDATE_MARKER}` });
    try {
      const got = await store.get(UPDATE_MARKER, { signal: limit.signal });
      const bytes = got === undefined ? undefined : await readBounded(got.body, MARKER_MAX_BYTES);
      onWorked?.();
      if (bytes === undefined) {
        this.#tell(MISSING);
        return undefined;
      }
      // Byte for byte: two texts that are not UTF-8 must not look the same.
      const text = Buffer.from(bytes).toString('latin1');
      this.#tell(
        isUpdateMarkerText(text) ? '' : 'the update marker in the storage is no such text',
      );
      return this.#trouble === '' ? text : undefined;
    } catch (error) {
      if (signal.aborted) {
        return undefined;
      }
      onFailed?.(error);
      this.#tell('cannot read the update marker', limit.reasonOf(error));
      return undefined;
    }
  }

  /** One line for each trouble, not for each look; "": all is well. */
  #tell(trouble: string, error?: unknown): void {
    if (trouble === this.#trouble) {
      return;
    }
    const { log } = this.#options;
    if (trouble === '') {
      log.info({}, 'listing the storage only when the update marker changes');
    } else {
      const hint =
        'the storage is listed every time; use_update_marker must be on for all instances of a bucket, and all must be allowed to read and write this object';
      // In a new bucket that is as it should be: the first object brings one.
      const tell = trouble === MISSING ? log.info.bind(log) : log.warn.bind(log);
      tell(
        { filename: UPDATE_MARKER, ...(error === undefined ? {} : { error: errorText(error) }) },
        `${trouble}: ${hint}`,
      );
    }
    this.#trouble = trouble;
  }
}
