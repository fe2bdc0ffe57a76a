import { runSeed, type SeedResult } from './run-seed.ts';

/** Leaves out as many actions of a failing schedule as it still fails without, in about this time. */
export async function shrink(
  failed: SeedResult,
  options: { readonly forMs: number; readonly now: () => number },
): Promise<{ result: SeedResult; skip: ReadonlySet<number> }> {
  const untilMs = options.now() + options.forMs;
  const kind = kindOf(failed);
  let skip: ReadonlySet<number> = new Set();
  let result = failed;
  const left = () => [...Array(failed.traits.steps).keys()].filter((at) => !skip.has(at));
  for (let size = Math.ceil(failed.traits.steps / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < left().length && options.now() < untilMs;) {
      const without = new Set([...skip, ...left().slice(at, at + size)]);
      const again = await runSeed(failed.seed, { skip: without });
      if (kindOf(again) === kind) {
        skip = without;
        result = again;
      } else {
        at += size;
      }
    }
  }
  return { result, skip };
}

/** The rule that is broken; another one is another failure. */
function kindOf({ failure }: SeedResult): string | undefined {
  return failure?.message.split(':')[0];
}
