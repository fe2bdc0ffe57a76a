import { setTimeout as sleepFor } from 'node:timers/promises';
import { errorText, SyncError } from '../../protocol/errors.ts';
import type { DatabaseStats, EntryKey } from '../lmdb/local-database.ts';
import type { Changes } from './changes.ts';
import {
  changedZones,
  DOMAIN_SCHEMAS,
  domainKey,
  zoneNameIn,
  type DomainSchema,
} from './powerdns-zones.ts';

/** Zones that are flushed one by one; more are flushed with all others at once. */
const SINGLE_ZONES_MAX = 500;
/** PowerDNS answers each request in a thread of its own. */
const REQUESTS_AT_ONCE = 4;
/** The LMDB thread may be waiting for the application; the name of a zone is not worth that. */
const LOOKUP_TIMEOUT_MS = 1000;
const EVERYTHING = '.';

/** What the names of zones are read from. */
export interface ZoneSource {
  stats(): Promise<Pick<DatabaseStats, 'dbis'>>;
  values(entries: readonly EntryKey[]): Promise<(Uint8Array | undefined)[]>;
}

export type PowerDnsFlushOptions = {
  /** The API, without `/api/v1`. */
  readonly url: string;
  readonly apiKey: string;
  /** The databases of this PowerDNS. */
  readonly databases: () => readonly ZoneSource[];
};

/**
 * Has PowerDNS forget what it has cached of the zones that merges changed: packets, queries, keys, and, in its list of
 * zones, whether they are there. Where it cannot be told which zones those are, of all of them.
 */
export class PowerDnsFlush {
  readonly #options: PowerDnsFlushOptions;
  #domains: { readonly source: ZoneSource; readonly schema: DomainSchema } | undefined;

  constructor(options: PowerDnsFlushOptions) {
    this.#options = options;
  }

  async run(changes: Changes, signal: AbortSignal): Promise<void> {
    const zones = await this.#zonesOf(changes);
    if (zones === 'everything' || zones.size > SINGLE_ZONES_MAX) {
      await this.#flush(EVERYTHING, signal);
      return;
    }
    const names = [...zones];
    let isRefused = false;
    const worker = async () => {
      for (let name = names.pop(); name !== undefined; name = names.pop()) {
        if ((await this.#flush(name, signal)) === 'refused') {
          isRefused = true;
        }
      }
    };
    await Promise.all(Array.from({ length: REQUESTS_AT_ONCE }, worker));
    // A name that the API does not take, for its signs: the zone is flushed all the same.
    if (isRefused) {
      await this.#flush(EVERYTHING, signal);
    }
  }

  async #zonesOf(changes: Changes): Promise<ReadonlySet<string> | 'everything'> {
    const zones = changedZones(changes);
    if (zones === 'everything') {
      return 'everything';
    }
    const { names, ids } = zones;
    if (ids.size === 0) {
      return names;
    }
    if (ids.size > SINGLE_ZONES_MAX) {
      return 'everything';
    }
    // Whatever is wrong with the look: the zones are unknown, and that is no reason to answer from the cache.
    const looked = this.#namesOf([...ids]).catch(() => 'everything' as const);
    const late = new AbortController();
    const timeout = sleepFor(LOOKUP_TIMEOUT_MS, 'everything' as const, { signal: late.signal });
    const found = await Promise.race([looked, timeout.catch(() => 'everything' as const)]);
    late.abort();
    return found === 'everything' ? found : new Set([...names, ...found]);
  }

  /** Names by id. A zone that is not there (yet, or any more) has no answers; its own entries tell when it comes. */
  async #namesOf(ids: readonly number[]): Promise<readonly string[] | 'everything'> {
    this.#domains ??= await this.#findDomains();
    if (this.#domains === undefined) {
      return 'everything';
    }
    const { source, schema } = this.#domains;
    const keys = ids.map((id) => ({ dbiName: schema.dbiName, key: domainKey(id, schema) }));
    const values = await source.values(keys);
    return values
      .map((value) => (value === undefined ? undefined : zoneNameIn(Buffer.from(value), schema)))
      .filter((name) => name !== undefined);
  }

  /** The one database that has the objects of zones; undefined: none has, or several. */
  async #findDomains() {
    const found: { source: ZoneSource; schema: DomainSchema }[] = [];
    for (const source of this.#options.databases()) {
      const { dbis } = await source.stats();
      const schema = DOMAIN_SCHEMAS.find(({ dbiName }) =>
        dbis.some(({ name }) => name === dbiName),
      );
      if (schema !== undefined) {
        found.push({ source, schema });
      }
    }
    return found.length === 1 ? found[0] : undefined;
  }

  async #flush(zone: string, signal: AbortSignal): Promise<'done' | 'refused'> {
    const { url, apiKey } = this.#options;
    const path = `/api/v1/servers/localhost/cache/flush?domain=${encodeURIComponent(zone)}`;
    let response: Response;
    try {
      response = await fetch(url.replace(/\/+$/, '') + path, {
        method: 'PUT',
        headers: { 'X-API-Key': apiKey },
        redirect: 'error',
        signal,
      });
      await response.body?.cancel();
    } catch (cause) {
      throw failed(`no answer from the PowerDNS API at ${url}: ${reasonOf(cause)}`, cause);
    }
    if (response.ok) {
      return 'done';
    }
    if (response.status === 422 && zone !== EVERYTHING) {
      return 'refused';
    }
    throw failed(`the PowerDNS API at ${url} answered ${response.status} to a cache flush`);
  }
}

/** `fetch` says what happened in its cause. */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  return errorText(cause ?? error);
}

function failed(message: string, cause?: unknown): SyncError {
  return new SyncError('HOOK_FAILED', message, {
    hint: 'Check webserver, webserver-allow-from, api and api-key in pdns.conf.',
    retryable: true,
    cause,
  });
}
