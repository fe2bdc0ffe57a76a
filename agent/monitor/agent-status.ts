import type { RequestReport } from '../../storage/requests.ts';
import type { Config } from '../config/config.ts';
import type { NoticeHealth } from './notice-health.ts';
import type { QueueRequestReport } from '../notices/queue-service.ts';
import type { DatabaseStatus, NoticeStatus, StatusSource } from './status.ts';

/** One database as the status sees it. */
export interface StatusMember {
  /** Asks for a fresh look at the LMDB, in the background. */
  refreshStats(): void;
  readonly monitor: { status(): DatabaseStatus };
}

/** What the status server and the metrics show, from memory. */
export class AgentStatus implements StatusSource {
  readonly instance: string;
  readonly version: string;
  readonly startedMs = Date.now();
  readonly billedPollIntervalMs: number | undefined;
  members: readonly StatusMember[] = [];
  readonly #notices: NoticeHealth;
  readonly #requests = new Map<string, number>();
  readonly #failed = new Map<string, number>();

  constructor(config: Config, parts: { version: string; notices: NoticeHealth }) {
    this.instance = config.instance;
    this.version = parts.version;
    this.#notices = parts.notices;
    this.billedPollIntervalMs =
      config.storage.type === 's3' ? config.storagePollIntervalMs : undefined;
  }

  databases(): DatabaseStatus[] {
    for (const member of this.members) {
      member.refreshStats();
    }
    return this.members.map(({ monitor }) => monitor.status());
  }

  requests(): ReadonlyMap<string, number> {
    return this.#requests;
  }

  failedRequests(): ReadonlyMap<string, number> {
    return this.#failed;
  }

  notices(): NoticeStatus {
    return this.#notices.status();
  }

  /** Counts one request to the storage. */
  countRequest({ kind, error }: Pick<RequestReport, 'kind' | 'error'>): void {
    more(this.#requests, kind, 1);
    if (error !== undefined) {
      more(this.#failed, kind, 1);
    }
  }

  /** Counts the requests of one call to the queue service. */
  countQueueRequest({ kind, requests, trouble }: QueueRequestReport): void {
    more(this.#requests, kind, requests);
    if (trouble !== undefined) {
      more(this.#failed, kind, 1);
    }
  }
}

function more(counts: Map<string, number>, kind: string, count: number): void {
  counts.set(kind, (counts.get(kind) ?? 0) + count);
}
