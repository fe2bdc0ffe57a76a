import { errorText, type SyncError } from '../../protocol/errors.ts';
import type { ObjectName } from '../../protocol/object-name.ts';
import type { Logger } from '../log/log.ts';
import type { QuarantinedObject } from './status.ts';

/** Objects that are kept by name for the status; more only count in the metric of the engine. */
const MAX_QUARANTINED = 1000;

/** The objects that are left out as a whole, each with the reason. One log line for each. */
export class Quarantine {
  readonly #log: Logger;
  readonly #objects = new Map<string, QuarantinedObject>();

  constructor(log: Logger) {
    this.#log = log;
  }

  get objects(): readonly QuarantinedObject[] {
    return [...this.#objects.values()];
  }

  add({ name, instance }: ObjectName, error: SyncError): void {
    const exceedsDbis = error.code === 'SNAPSHOT_DBIS_EXCEED';
    if (this.#objects.size < MAX_QUARANTINED) {
      const reason = errorText(error);
      this.#objects.set(name, { name, error: reason, ...(exceedsDbis ? { exceedsDbis } : {}) });
    }
    this.#log.warn(
      { filename: name, snapshot_instance: instance, error: errorText(error) },
      exceedsDbis
        ? 'Object has more DBIs than max_dbs allows and is left out; others go on. Raise max_dbs and restart'
        : 'Object cannot be used and is left out; others go on. Remove it once its instance has stored a newer full snapshot',
    );
  }

  release(name: string): void {
    this.#objects.delete(name);
  }
}
