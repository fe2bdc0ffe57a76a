import { errorText, type SyncError } from '../../../protocol/errors.ts';
import type { ObjectName } from '../../../protocol/object-name.ts';
import type { Logger } from '../../log/log.ts';

/** Objects that are remembered; more are only logged. */
const MAX_REFUSED = 1000;

/** Follows which objects have no room in the LMDB map. One log line for each, and for each other reason. */
export class RefusedObjects {
  readonly #log: Logger;
  readonly #errors = new Map<string, string>();

  constructor(log: Logger) {
    this.#log = log;
  }

  get objects(): { readonly name: string; readonly error: string }[] {
    return [...this.#errors].map(([name, error]) => ({ name, error }));
  }

  add({ name }: ObjectName, error: SyncError): void {
    const text = errorText(error);
    const isNews = this.#errors.get(name) !== text;
    if (this.#errors.size < MAX_REFUSED) {
      this.#errors.set(name, text);
    }
    if (isNews) {
      this.#log.warn(
        { filename: name, error: text, hint: error.hint },
        'Object has no room in the LMDB map and is left out until it has; others go on',
      );
    }
  }

  release(name: string): void {
    this.#errors.delete(name);
  }
}
