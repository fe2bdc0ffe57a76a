import { Session } from 'node:inspector/promises';
import { setTimeout as sleepFor } from 'node:timers/promises';

/** What can be taken: where time goes, or what memory is held by whom. */
export type ProfileKind = 'cpu' | 'heap';

/** A thread of this process: `main`, or `lmdb NAME` for the thread of a database. */
export type ProfiledThread = { readonly name: string; readonly call: InspectorCall };

type InspectorCall = (method: string, params?: object) => Promise<unknown>;

/**
 * Inspects the threads of this process from inside: nothing listens on a port. Close it; until then its threads may be
 * slower.
 */
export class Profiler implements Disposable {
  readonly #session = new Session();
  readonly #waiting = new Map<number, (answer: WorkerAnswer) => void>();
  readonly #workers: { readonly sessionId: string; readonly title: string }[] = [];
  #lastId = 0;

  private constructor() {
    this.#session.connect();
  }

  static async open(): Promise<Profiler> {
    const profiler = new Profiler();
    const session = profiler.#session;
    session.on('NodeWorker.attachedToWorker', ({ params }) => {
      profiler.#workers.push({ sessionId: params.sessionId, title: params.workerInfo.title });
    });
    session.on('NodeWorker.receivedMessageFromWorker', ({ params }) => {
      const answer = JSON.parse(params.message) as WorkerAnswer;
      profiler.#waiting.get(answer.id)?.(answer);
      profiler.#waiting.delete(answer.id);
    });
    await session.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
    return profiler;
  }

  threads(): ProfiledThread[] {
    const main = {
      name: 'main',
      call: (method: string, params?: object) => this.#session.post(method, params),
    };
    const workers = this.#workers.map(({ sessionId, title }) => ({
      // Node's title is "[worker 1] NAME".
      name: title.replace(/^\[worker \d+\] ?/, ''),
      call: (method: string, params?: object) => this.#callWorker(sessionId, { method, params }),
    }));
    return [main, ...workers];
  }

  [Symbol.dispose](): void {
    this.#session.disconnect();
  }

  async #callWorker(
    sessionId: string,
    request: { readonly method: string; readonly params: object | undefined },
  ): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    const answered = new Promise<WorkerAnswer>((resolve) => this.#waiting.set(id, resolve));
    const message = JSON.stringify({ id, ...request });
    await this.#session.post('NodeWorker.sendMessageToWorker', { sessionId, message });
    const { result, error } = await answered;
    if (error !== undefined) {
      throw new Error(error.message);
    }
    return result;
  }
}

type WorkerAnswer = {
  readonly id: number;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
};

const HEAP_SAMPLE_BYTES = 32 * 1024;

/**
 * Watches the thread for that long; the text of a `.cpuprofile` or `.heapprofile`, as Chrome's DevTools and VS Code open
 * them. Names of functions and sizes only: no value of this process is in it. Rejects when `signal` aborts.
 */
export async function takeProfile(
  thread: ProfiledThread,
  options: { readonly kind: ProfileKind; readonly ms: number; readonly signal: AbortSignal },
): Promise<string> {
  const { kind, ms, signal } = options;
  const [domain, start, stop] =
    kind === 'cpu'
      ? (['Profiler', 'start', 'stop'] as const)
      : (['HeapProfiler', 'startSampling', 'stopSampling'] as const);
  await thread.call(`${domain}.enable`);
  try {
    await thread.call(
      `${domain}.${start}`,
      kind === 'heap' ? { samplingInterval: HEAP_SAMPLE_BYTES } : {},
    );
    await sleepFor(ms, undefined, { signal });
    const { profile } = (await thread.call(`${domain}.${stop}`)) as { readonly profile: unknown };
    return JSON.stringify(profile);
  } finally {
    await thread.call(`${domain}.disable`);
  }
}
