import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SeededRandom } from '../support/random.ts';
import { readCorpus, writeCorpus } from './corpus.ts';
import { CodeCoverage } from './coverage.ts';
import { Fuzzer } from './engine.ts';
import { TARGETS } from './targets.ts';

/** What a process that fuzzes one target is told. */
export type RunOptions = {
  readonly target: string;
  readonly seed: number;
  readonly seconds: number;
  /** Where the input that runs is kept, as its length in four bytes, then its bytes. */
  readonly inputFile: string;
  /** Stores what reaches new code. */
  readonly update: boolean;
};

/** What it says while it works, and at its end. */
export type RunReport = {
  readonly runs: number;
  /** Characters of the project's source that ran. */
  readonly characters: number;
  readonly corpus: number;
  /** Inputs that reached something which the stored ones do not. */
  readonly found: number;
  readonly finding?: string | undefined;
  readonly done: boolean;
};

const ROOT = process.cwd();
const OURS = ['agent', 'protocol', 'lambdas'].map((folder) => join(ROOT, folder));
const REPORT_INTERVAL_MS = 1000;

async function main(options: RunOptions): Promise<void> {
  const target = TARGETS.find(({ name }) => name === options.target);
  if (target === undefined) {
    throw new Error(`no target ${options.target}`);
  }
  const fd = openSync(options.inputFile, 'w');
  const head = Buffer.alloc(4);
  const onInput = (input: Uint8Array): void => {
    head.writeUInt32LE(input.length);
    writeSync(fd, head, 0, 4, 0);
    writeSync(fd, input, 0, input.length, 4);
  };
  using coverage = new CodeCoverage((url) =>
    OURS.some((folder) => url.startsWith(folder) || url.startsWith(pathToFileURL(folder).href)),
  );
  const stored = readCorpus(target.name);
  const fuzzer = new Fuzzer({
    target,
    random: new SeededRandom(options.seed),
    coverage,
    corpus: [...stored, ...target.seeds()],
    onInput,
  });
  let stored0 = 0;
  const report = (more: { done: boolean; finding?: string }) =>
    new Promise<void>((resolve) => {
      const { runs, corpus } = fuzzer;
      const found = corpus.length - stored0;
      process.send?.(
        { runs, characters: coverage.characters, corpus: corpus.length, found, ...more },
        () => resolve(),
      );
    });
  try {
    await fuzzer.begin();
    stored0 = fuzzer.corpus.length;
    const endMs = performance.now() + options.seconds * 1000;
    let reportedMs = 0;
    while (performance.now() < endMs) {
      await fuzzer.batch();
      if (performance.now() - reportedMs > REPORT_INTERVAL_MS) {
        reportedMs = performance.now();
        await report({ done: false });
      }
    }
    if (options.update) {
      writeCorpus(target.name, fuzzer.corpus);
    }
    await report({ done: true });
  } catch (error) {
    await report({ done: true, finding: error instanceof Error ? error.message : String(error) });
  }
  process.disconnect();
}

void main(JSON.parse(process.argv[2] ?? '{}') as RunOptions);
