import { errorText } from '../../protocol/errors.ts';
import { answerJson, answerText, type Answer } from './answer.ts';
import { Profiler, takeProfile, type ProfileKind } from './profiler.ts';

const PREFIX = '/debug/pprof/';
const DEFAULT_SECONDS = 10;
const MAX_SECONDS = 120;

const INDEX = `Profiles of this agent. The LMDB work of a database is done in a thread of its own.

${PREFIX}profile?seconds=10&thread=main    where time goes: a .cpuprofile
${PREFIX}heap?seconds=10&thread=main       what allocates memory that is still held: a .heapprofile
${PREFIX}resources                         what is open (sockets, timers, watches), by kind
${PREFIX}cmdline                           the command line

Chrome's DevTools and VS Code open both kinds of profile. One is taken at a time, ${MAX_SECONDS} seconds at most.
Heap snapshots are not served: keys of the storage and all values in memory would be in them.
`;

/**
 * What upstream serves under `/debug/pprof/`, as Node has it; only where `http.debug` is on. Nothing here shows a value,
 * but taking a profile slows the agent down, and whoever reaches the address can ask for it.
 */
export class DebugRoutes {
  #busy = false;

  /** undefined: not one of these. */
  async answer(url: URL, signal: AbortSignal): Promise<Answer | undefined> {
    switch (url.pathname) {
      case PREFIX:
      case PREFIX.slice(0, -1):
        return answerText(200, INDEX.trimEnd());
      case `${PREFIX}profile`:
        return this.#profile('cpu', { url, signal });
      case `${PREFIX}heap`:
        return this.#profile('heap', { url, signal });
      case `${PREFIX}resources`:
        return answerText(200, resources());
      case `${PREFIX}cmdline`:
        return answerText(200, process.argv.join('\0'));
      default:
        return undefined;
    }
  }

  async #profile(
    kind: ProfileKind,
    { url, signal }: { readonly url: URL; readonly signal: AbortSignal },
  ): Promise<Answer> {
    const seconds = Number(url.searchParams.get('seconds') ?? DEFAULT_SECONDS);
    if (!(seconds > 0 && seconds <= MAX_SECONDS)) {
      return answerText(400, `seconds: more than 0 and ${MAX_SECONDS} at most`);
    }
    if (this.#busy) {
      return answerText(409, 'another profile is being taken; try again later');
    }
    this.#busy = true;
    try {
      using profiler = await Profiler.open();
      const name = url.searchParams.get('thread') ?? 'main';
      const threads = profiler.threads();
      const thread = threads.find((one) => one.name === name || one.name === `lmdb ${name}`);
      if (thread === undefined) {
        return answerText(
          400,
          `there is no such thread; there are ${threads.map((one) => one.name).join(', ')}`,
        );
      }
      const body = await takeProfile(thread, { kind, ms: seconds * 1000, signal });
      const fileName = `${thread.name.replaceAll(/[^a-zA-Z0-9-]/g, '-')}.${kind}profile`;
      return { ...answerJson(200, body), fileName };
    } catch (error) {
      return answerText(500, `cannot take a profile: ${errorText(error)}`);
    } finally {
      this.#busy = false;
    }
  }
}

function resources(): string {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return [...counts]
    .toSorted(([, a], [, b]) => b - a)
    .map(([kind, count]) => `${count}\t${kind}`)
    .join('\n');
}
