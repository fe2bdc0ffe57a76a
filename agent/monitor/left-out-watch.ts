import type { MergedEvent } from '../engine/observer.ts';
import type { LeftOutEntries } from '../lmdb/local-database.ts';
import type { Logger } from '../log/log.ts';

/** Entries of others that are left out here, and the object that had the first of them. */
export type ReceivedLeftOut = LeftOutEntries & { readonly object: string };

/** Instances that are remembered; more are only logged. */
const MAX_INSTANCES = 1000;

/**
 * Follows which entries are left out because they are too large, the local ones and those of others. What an instance
 * sent counts until a full state of it comes without any. One log line each time it begins or changes.
 */
export class LeftOutWatch {
  readonly #log: Logger;
  readonly #received = new Map<string, ReceivedLeftOut>();
  #local: LeftOutEntries | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Local entries, as far as known. */
  get local(): LeftOutEntries | undefined {
    return this.#local;
  }

  /** Those of others, of all instances together; undefined: there are none. */
  get received(): ReceivedLeftOut | undefined {
    const [first, ...others] = this.#received.values();
    return (
      first && {
        ...first,
        entries: others.reduce((sum, { entries }) => sum + entries, first.entries),
      }
    );
  }

  detected(leftOut: LeftOutEntries | undefined): void {
    if (leftOut !== undefined && leftOut.entries > (this.#local?.entries ?? 0)) {
      this.#log.warn(
        { entries: leftOut.entries, first: leftOut.first },
        'Local entries are too large and are not sent; shorten them in the application',
      );
    }
    this.#local = leftOut;
  }

  merged({ object, result: { leftOut } }: MergedEvent): void {
    const before = this.#received.get(object.instance);
    if (leftOut === undefined) {
      if (object.kind !== 'delta') {
        this.#received.delete(object.instance);
      }
      return;
    }
    if (before?.first !== leftOut.first || before.entries !== leftOut.entries) {
      this.#log.warn(
        { snapshot_name: object.name, entries: leftOut.entries, first: leftOut.first },
        'Entries of a snapshot are too large and are left out; shorten them in the application that wrote them',
      );
    }
    if (before !== undefined || this.#received.size < MAX_INSTANCES) {
      this.#received.set(object.instance, { ...leftOut, object: object.name });
    }
  }
}
