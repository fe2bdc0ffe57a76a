import { setTimeout as sleep } from 'node:timers/promises';
import { manifestName, parseObjectName } from '../protocol/object-name.ts';
import type { ObjectStore } from '../storage/object-store.ts';
import type { AwsDeployment } from './aws-deployment.ts';
import { Scenario, type StepResult } from './scenario.ts';

/** The agents of {@link AwsScenario}; the last one joins after the compaction. */
export const AWS_AGENTS = ['a', 'b', 'c', 'd'] as const;

const IDLE_MS = 10_000;
const DATABASE = 'main';

/** The plain demo's steps through a deployed stack; then an idle while, a compaction, and a host that joins after it. */
export class AwsScenario extends Scenario {
  readonly #deployment: AwsDeployment;

  constructor(folder: string, report: (result: StepResult) => void, deployment: AwsDeployment) {
    super(folder, report, deployment.surroundings());
    this.#deployment = deployment;
  }

  override async run(): Promise<void> {
    await super.run();
    await this.#idle();
    await this.#compaction();
    await this.hostJoins('d');
    await this.everybodySeesAWrite();
  }

  async #idle(): Promise<void> {
    await this.step('idle', async () => {
      await sleep(IDLE_MS);
      return {
        latencyMs: IDLE_MS,
        happened: 'three agents wait on their queues, nobody lists the bucket',
      };
    });
  }

  async #compaction(): Promise<void> {
    const store = await this.#deployment.openStore();
    try {
      await this.step('compaction', async () => {
        const before = await listNames(store);
        const started = performance.now();
        await this.#deployment.requestCompaction(DATABASE);
        const after = await this.#emptied(store);
        return {
          latencyMs: performance.now() - started,
          happened: `${before.length} objects are folded into ${after.length}`,
        };
      });
    } finally {
      await store.close();
    }
  }

  /** What is in the bucket once the objects of the agents are gone from it. */
  async #emptied(store: ObjectStore): Promise<string[]> {
    for (const end = performance.now() + this.timeoutMs; performance.now() < end;) {
      const names = await listNames(store);
      const rest = names.filter((name) => parseObjectName(name)?.kind !== 'base');
      if (rest.length === 1 && rest[0] === manifestName(DATABASE)) {
        return names;
      }
      await sleep(50);
    }
    throw new Error('the compaction did not come to an end in time');
  }
}

async function listNames(store: ObjectStore): Promise<string[]> {
  const names: string[] = [];
  const { signal } = new AbortController();
  for await (const { name } of store.list(`${DATABASE}__`, { signal })) {
    names.push(name);
  }
  return names;
}
