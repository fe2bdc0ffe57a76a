import { sleep } from '../pacing/sleep.ts';
import type { Config } from '../config/config.ts';
import type { Check } from '../watchdog/health-check.ts';
import type { Logger } from '../log/log.ts';
import type { TouchedKeys } from '../lmdb/touched-keys.ts';
import { runCommand } from './command.ts';
import { AfterMergeHook, type HookObserver } from './hook.ts';
import { PowerDnsFlush, type ZoneSource } from './powerdns.ts';

type HookConfig = NonNullable<ReturnType<Config['afterMerge']['get']>>;

/** All hooks after merges that are configured, each with the databases that it is for. */
export class AfterMergeHooks {
  readonly #hooks: readonly { readonly hook: AfterMergeHook; readonly config: HookConfig }[];
  readonly #databases = new Map<string, ZoneSource>();

  constructor(config: Config, deps: { readonly log: Logger; readonly observer: HookObserver }) {
    this.#hooks = [...config.afterMerge].map(([name, hookConfig]) => ({
      config: hookConfig,
      hook: new AfterMergeHook({
        name,
        run: this.#action(hookConfig),
        timeoutMs: hookConfig.timeoutMs,
        minIntervalMs: hookConfig.minIntervalMs,
        observer: deps.observer,
        log: deps.log,
        sleep,
        now: () => performance.now(),
      }),
    }));
  }

  /** True if a hook is for this database: only then its merges have to say what they wrote. */
  concern(database: string): boolean {
    return this.#hooks.some(({ config }) => isFor(config, database));
  }

  /** Where a hook may look something up. */
  register(database: string, source: ZoneSource): void {
    this.#databases.set(database, source);
  }

  note(database: string, touched: TouchedKeys): void {
    for (const { config, hook } of this.#hooks) {
      if (isFor(config, database)) {
        hook.note(database, touched);
      }
    }
  }

  checks(): Check[] {
    return this.#hooks.flatMap(({ hook }) => hook.checks());
  }

  /** Runs what is pending, and ends. */
  async close(): Promise<void> {
    await Promise.all(this.#hooks.map(({ hook }) => hook.close()));
  }

  #action(config: HookConfig): ConstructorParameters<typeof AfterMergeHook>[0]['run'] {
    if (config.powerdnsUrl === '') {
      return (changes, signal) => runCommand(config.command, changes, signal);
    }
    const flush = new PowerDnsFlush({
      url: config.powerdnsUrl,
      apiKey: config.powerdnsApiKey,
      databases: () =>
        [...this.#databases].filter(([name]) => isFor(config, name)).map(([, source]) => source),
    });
    return (changes, signal) => flush.run(changes, signal);
  }
}

function isFor({ databases }: HookConfig, database: string): boolean {
  return databases.length === 0 || databases.includes(database);
}
