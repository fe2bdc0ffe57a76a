import type { Detection, RefusedDbi } from '../../lmdb/local-database.ts';
import type { Logger } from '../../log/log.ts';
import { refusedText, unnamedDataText } from '../conditions.ts';
import { shownName } from '../status.ts';

/** What looks at an LMDB found that keeps it, or a DBI of it, from being synced. Each is logged once, when it begins and ends. */
export class LmdbTrouble {
  readonly #log: Logger;
  #refusedDbis: readonly RefusedDbi[] = [];
  #unnamedData: string | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  get status(): {
    readonly refusedDbis: readonly RefusedDbi[];
    readonly unnamedData: string | undefined;
  } {
    return { refusedDbis: this.#refusedDbis, unnamedData: this.#unnamedData };
  }

  note({ refusedDbis, unnamedData }: Pick<Detection, 'refusedDbis' | 'unnamedData'>): void {
    const before = new Map(this.#refusedDbis.map((dbi) => [dbi.name, refusedText(dbi)]));
    for (const dbi of refusedDbis) {
      const text = refusedText(dbi);
      if (before.get(dbi.name) !== text) {
        this.#log.error({ dbi: shownName(dbi.name) }, text);
      }
      before.delete(dbi.name);
    }
    for (const name of before.keys()) {
      this.#log.info({ dbi: shownName(name) }, 'the DBI is in order again, and synced');
    }
    this.#refusedDbis = refusedDbis;
    if ((unnamedData === undefined) !== (this.#unnamedData === undefined)) {
      if (unnamedData !== undefined) {
        this.#log.error({}, unnamedDataText(unnamedData));
      } else {
        this.#log.info({}, 'the main database holds nothing but DBIs again: sync goes on');
      }
    }
    this.#unnamedData = unnamedData;
  }
}
