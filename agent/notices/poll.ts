import { slept, type Sleep } from '../pacing/sleep.ts';
import type { NoticeSource, OnNotice } from './source.ts';

/** Asks for a listing pass every interval, as upstream does: where nothing announces objects. */
export class PollNotices implements NoticeSource {
  readonly kind = 'poll';
  readonly #intervalMs: number;
  readonly #sleep: Sleep;

  constructor(options: { intervalMs: number; sleep: Sleep }) {
    this.#intervalMs = options.intervalMs;
    this.#sleep = options.sleep;
  }

  async run(onNotice: OnNotice, signal: AbortSignal): Promise<void> {
    do {
      onNotice('list');
    } while (await slept(this.#sleep, this.#intervalMs, signal));
  }
}
