import { errorText } from '../../protocol/errors.ts';
import { formatGoDuration } from '../../protocol/time.ts';
import { Watchdog } from '../watchdog/watchdog.ts';
import type { TrackerConfig } from '../config/config.ts';
import type { Check } from '../watchdog/health-check.ts';
import type { NoticeSource } from '../notices/source.ts';
import { ActivityTracker } from './health.ts';
import type { NoticeStatus } from './status.ts';

/**
 * Whether this agent hears of new objects the way it was configured to: by the queue, or by watching the folder.
 *
 * Trouble with that is a warning, never a failure: the storage is listed meanwhile, and whether that works has a check of
 * its own.
 */
export class NoticeHealth {
  readonly #tracker: ActivityTracker;
  readonly #marker: ActivityTracker;
  readonly #limits: TrackerConfig;
  readonly #watchdog: Watchdog;
  readonly #now: () => number;
  /** How often it must ask for a listing, whatever it hears. */
  #listWithinMs = Number.POSITIVE_INFINITY;
  #source: NoticeSource['kind'] = 'poll';
  #trouble: NoticeStatus['trouble'];

  constructor(limits: TrackerConfig, now: () => number) {
    this.#now = now;
    this.#limits = limits;
    this.#watchdog = new Watchdog(now);
    this.#tracker = new ActivityTracker(
      { name: 'notices_failed_duration', activity: 'receive notices' },
      { ...limits, errorDurationMs: Number.POSITIVE_INFINITY },
      now,
    );
    this.#marker = new ActivityTracker(
      { name: 'update_marker_failed_duration', activity: 'write the update marker' },
      { ...limits, errorDurationMs: Number.POSITIVE_INFINITY },
      now,
    );
  }

  /** The source that is used from now on. */
  uses(source: NoticeSource['kind']): void {
    this.#source = source;
  }

  /** From now on the source has to ask for a listing this often; one that does not has stopped. */
  expectsLists(withinMs: number): void {
    this.#listWithinMs = withinMs;
    this.listAsked();
  }

  /** The source has asked for a listing. */
  listAsked(): void {
    this.#watchdog.loop('notices').rests(this.#listWithinMs);
  }

  worked(): void {
    this.#tracker.succeeded();
    this.#trouble = undefined;
  }

  failed(error: unknown): void {
    this.#tracker.failed(error);
    this.#trouble = { sinceMs: this.#trouble?.sinceMs ?? this.#now(), error: errorText(error) };
  }

  /** The update marker was written, so that others look at what we stored. */
  markerWritten(): void {
    this.#marker.succeeded();
  }

  markerFailed(error: unknown): void {
    this.#marker.failed(error);
  }

  status(): NoticeStatus {
    return { source: this.#source, trouble: this.#trouble };
  }

  /** What `/healthz` reports: a warning once it has failed for as long as a listing may. */
  checks(): Check[] {
    return [
      ...withConsequence(this.#tracker, 'the storage is listed instead'),
      ...withConsequence(this.#marker, 'others find what is stored here at their forced listing'),
      ...this.#stalls(),
    ];
  }

  /** Unlike trouble, which the source knows of and which makes it list, a stop ends all receiving. */
  #stalls(): Check[] {
    const { warnDurationMs, errorDurationMs } = this.#limits;
    return this.#watchdog.stalls(warnDurationMs).map(({ forMs }) => ({
      name: 'notices_stalled',
      level: forMs >= errorDurationMs ? 'error' : 'warning',
      message: `nobody has asked for a listing that was due ${formatGoDuration(Math.round(forMs / 1000) * 1000)} ago: restart the agent, and report this with the log`,
    }));
  }
}

function withConsequence(tracker: ActivityTracker, consequence: string): Check[] {
  const check = tracker.check();
  return check === undefined ? [] : [{ ...check, message: `${check.message}; ${consequence}` }];
}
