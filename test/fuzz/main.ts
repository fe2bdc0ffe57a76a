import { fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { inputName } from './corpus.ts';
import type { RunOptions, RunReport } from './run-target.ts';
import { TARGETS } from './targets.ts';

const USAGE = `Usage: npm run fuzz -- [--target NAME]... [--seconds N] [--from SEED] [--update]
       npm run fuzz -- --target NAME --input FILE
  --target NAME  one of ${TARGETS.map(({ name }) => name).join(', ')}; all by default
  --seconds N    for each target (10)
  --from SEED    of the mutations (1)
  --update       stores what reaches new code under test/fuzz/corpus, where npm test runs it
  --input FILE   runs this input only, as when something was found`;
/** An input that takes longer never ends, as far as an agent is concerned. */
const HANG_MS = 30_000;
const HEAP_MB = 512;

type Outcome = RunReport & { readonly input?: Uint8Array | undefined };

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      target: { type: 'string', multiple: true, default: [] },
      seconds: { type: 'string', default: '10' },
      from: { type: 'string', default: '1' },
      update: { type: 'boolean', default: false },
      input: { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  const wanted = TARGETS.filter(
    ({ name }) => values.target.length === 0 || values.target.includes(name),
  );
  const unknown = values.target.find((name) => !TARGETS.some((target) => target.name === name));
  const [seconds, seed] = [Number(values.seconds), Number(values.from)];
  if (values.help || unknown !== undefined || !(seconds > 0) || !Number.isSafeInteger(seed)) {
    console.log(unknown === undefined ? USAGE : `no target ${unknown}\n${USAGE}`);
    return values.help ? 0 : 2;
  }
  if (values.input !== undefined) {
    for (const target of wanted) {
      await target.run(readFileSync(values.input));
    }
    console.log('nothing to complain about');
    return 0;
  }
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
  try {
    const queue = [...wanted];
    const found: string[] = [];
    const work = async (): Promise<void> => {
      for (let target = queue.shift(); target !== undefined; target = queue.shift()) {
        const { name } = target;
        const inputFile = join(folder, name);
        const outcome = await runTarget({
          target: name,
          seed,
          seconds,
          inputFile,
          update: values.update,
        });
        console.log(lineOf(name, outcome));
        if (outcome.finding !== undefined) {
          found.push(keep(name, outcome));
        }
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, work));
    for (const line of found) {
      console.log(line);
    }
    return found.length > 0 ? 1 : 0;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** One target in a process of its own, which may hang or run out of memory. */
function runTarget(options: RunOptions): Promise<Outcome> {
  const child = fork(join(process.cwd(), 'test/fuzz/run-target.ts'), [JSON.stringify(options)], {
    execArgv: [...process.execArgv, `--max-old-space-size=${HEAP_MB}`],
  });
  return new Promise((resolve) => {
    let last: RunReport = { runs: 0, characters: 0, corpus: 0, found: 0, done: false };
    let hung = false;
    const onHang = () => {
      hung = true;
      child.kill('SIGKILL');
    };
    let timer = setTimeout(onHang, HANG_MS);
    child.on('message', (message) => {
      last = message as RunReport;
      clearTimeout(timer);
      timer = setTimeout(onHang, HANG_MS);
    });
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      const silent = hung ? 'it does not end' : `the process ended with ${code ?? signal}`;
      const finding = last.finding ?? (last.done ? undefined : silent);
      resolve({
        ...last,
        finding,
        input: finding === undefined ? undefined : currentInput(options.inputFile),
      });
    });
  });
}

function currentInput(file: string): Uint8Array {
  const bytes = readFileSync(file);
  return bytes.subarray(4, 4 + bytes.readUInt32LE(0));
}

function lineOf(name: string, { runs, characters, corpus, found, finding }: Outcome): string {
  const what = `${name}: ${runs.toLocaleString('en')} inputs, ${corpus} in the corpus (${found} new), ${characters.toLocaleString('en')} characters of code reached`;
  return finding === undefined ? `measured: fuzz ${what}` : `FOUND ${what}`;
}

/** Keeps what was found, for a closer look. */
function keep(name: string, { finding = '', input = new Uint8Array(0) }: Outcome): string {
  const folder = join(process.cwd(), 'tmp');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `fuzz-${name}-${inputName(input)}`);
  writeFileSync(file, input);
  return `${finding}\nAgain: npm run fuzz -- --target ${name} --input ${file}\n`;
}

main().then(
  (code) => {
    process.exitCode = code;
  },
  (error: unknown) => {
    console.error(error instanceof Error ? error.stack : error);
    process.exitCode = 1;
  },
);
