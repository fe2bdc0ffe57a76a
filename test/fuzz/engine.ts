import type { SeededRandom } from '../support/random.ts';
import type { CodeCoverage } from './coverage.ts';
import { mutate } from './mutate.ts';
import type { FuzzTarget } from './target.ts';

/** Inputs between two looks at the coverage. */
const BATCH = 48;
/** Of the newest input, which leads somewhere new most often. */
const NEWEST_CHANCE = 0.3;

/** An input that made a target throw what it must not. */
class FuzzFinding extends Error {
  readonly input: Uint8Array;

  constructor(target: FuzzTarget, input: Uint8Array, cause: unknown) {
    super(`${target.name}: ${cause instanceof Error ? (cause.stack ?? '') : String(cause)}`, {
      cause,
    });
    this.input = input;
  }
}

export type FuzzParts = {
  readonly target: FuzzTarget;
  readonly random: SeededRandom;
  readonly coverage: CodeCoverage;
  /** Inputs to start from; those that reach nothing of their own are forgotten. */
  readonly corpus: readonly Uint8Array[];
  /** Called with every input before it runs, in case that it never ends. */
  readonly onInput: (input: Uint8Array) => void;
};

/**
 * Mutates inputs of a corpus, and keeps in it those that reach code which no other reached: the same seed, corpus and number
 * of runs give the same inputs.
 */
export class Fuzzer {
  readonly corpus: Uint8Array[] = [];
  runs = 0;
  readonly #parts: FuzzParts;

  constructor(parts: FuzzParts) {
    this.#parts = parts;
  }

  /** Runs the corpus, smallest first, and keeps of it what reaches something. */
  async begin(): Promise<void> {
    const { coverage, corpus } = this.#parts;
    coverage.take();
    for (const input of corpus.toSorted((a, b) => a.length - b.length)) {
      await this.#run(input);
      if (coverage.take() > 0) {
        this.corpus.push(input);
      }
    }
    if (this.corpus.length === 0) {
      this.corpus.push(corpus[0] ?? new Uint8Array(0));
    }
  }

  /** One batch of new inputs. Errors: {@link FuzzFinding}. */
  async batch(): Promise<void> {
    const { coverage } = this.#parts;
    const inputs: Uint8Array[] = [];
    for (let i = 0; i < BATCH; i += 1) {
      const input = this.#next();
      inputs.push(input);
      await this.#run(input);
    }
    if (coverage.take({ peek: true }) === 0) {
      return;
    }
    for (const input of inputs) {
      await this.#run(input);
      if (coverage.take() > 0) {
        this.corpus.push(Uint8Array.from(input));
      }
    }
  }

  #next(): Uint8Array {
    const { random, target } = this.#parts;
    const newest = this.corpus.at(-1);
    const input =
      newest !== undefined && random.chance(NEWEST_CHANCE) ? newest : random.pick(this.corpus);
    const { dictionary, maxBytes } = target;
    return mutate(input, { random, dictionary, other: random.pick(this.corpus), maxBytes });
  }

  async #run(input: Uint8Array): Promise<void> {
    const { target, onInput } = this.#parts;
    this.runs += 1;
    onInput(input);
    try {
      await target.run(input);
    } catch (error) {
      throw new FuzzFinding(target, input, error);
    }
  }
}
