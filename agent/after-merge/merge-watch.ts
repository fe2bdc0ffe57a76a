import type { MergedEvent, Step, SyncObserver } from '../engine/observer.ts';
import type { Detection } from '../lmdb/local-database.ts';
import type { TouchedKeys } from '../lmdb/touched-keys.ts';

/** What a {@link MergeWatch} looks at. */
type Watched = Pick<SyncObserver, 'merged' | 'detected' | 'stepFailed'>;

/** Steps that write into the LMDB what the application has. */
const WRITING: ReadonlySet<Step> = new Set<Step>(['merge', 'local changes', 'sync state']);

/** Says what sync has changed in the LMDB under the application's hands; observes the engine beside its monitor. */
export class MergeWatch implements Watched {
  readonly #onChanged: (touched: TouchedKeys) => void;
  /** A merge that failed may have written a part, which the one that repeats it finds in place. */
  #isPartlyWritten = false;

  constructor(onChanged: (touched: TouchedKeys) => void) {
    this.#onChanged = onChanged;
  }

  merged({ result: { touched } }: MergedEvent): void {
    if (this.#isPartlyWritten) {
      this.#onChanged('many');
    } else if (touched !== undefined) {
      this.#onChanged(touched);
    }
    this.#isPartlyWritten = false;
  }

  /** What was put back is another value than the one that the application has just written and may have cached. */
  detected({ regressions }: Detection): void {
    if (regressions > 0) {
      this.#onChanged('many');
    }
  }

  stepFailed(step: Step): void {
    if (WRITING.has(step)) {
      this.#isPartlyWritten = true;
    }
  }

  /** A rejoin has ended: it drops what others have deleted. */
  rejoined(): void {
    this.#onChanged('many');
  }
}
