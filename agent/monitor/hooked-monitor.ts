import type { AfterMergeHooks } from '../after-merge/hooks.ts';
import { DatabaseMonitor } from './database-monitor.ts';
import type { MergedEvent } from '../engine/observer.ts';
import type { Detection } from '../lmdb/local-database.ts';
import type { TouchedKeys } from '../lmdb/touched-keys.ts';

/** A monitor that also says what merges have changed in the LMDB under the application's hands. */
export class HookedMonitor extends DatabaseMonitor {
  readonly #onChanged: (touched: TouchedKeys) => void;
  /** A merge that failed may have written a part, which the one that repeats it finds in place. */
  #isPartlyWritten = false;

  constructor(
    deps: ConstructorParameters<typeof DatabaseMonitor>[0],
    onChanged: (touched: TouchedKeys) => void,
  ) {
    super(deps);
    this.#onChanged = onChanged;
  }

  override merged(event: MergedEvent): void {
    super.merged(event);
    const { touched } = event.result;
    if (this.#isPartlyWritten) {
      this.#onChanged('many');
    } else if (touched !== undefined) {
      this.#onChanged(touched);
    }
    this.#isPartlyWritten = false;
  }

  /** What was put back is another value than the one that the application has just written and may have cached. */
  override detected(detection: Detection): void {
    super.detected(detection);
    if (detection.regressions > 0) {
      this.#onChanged('many');
    }
  }

  override databaseFailed(error: unknown): void {
    super.databaseFailed(error);
    this.#isPartlyWritten = true;
  }

  /** A rejoin drops what others have deleted. */
  override rejoining(rejoin: Parameters<DatabaseMonitor['rejoining']>[0]): void {
    super.rejoining(rejoin);
    if (rejoin === undefined) {
      this.#onChanged('many');
    }
  }
}

/** The monitor of a database: where a hook is for it, one that tells the hooks. */
export function monitorWith(
  deps: ConstructorParameters<typeof DatabaseMonitor>[0],
  hooks: AfterMergeHooks,
): DatabaseMonitor {
  if (!hooks.concern(deps.name)) {
    return new DatabaseMonitor(deps);
  }
  return new HookedMonitor(deps, (touched) => hooks.note(deps.name, touched));
}
