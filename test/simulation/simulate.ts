import { fork, type ChildProcess } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { describe, runSeed } from './run-seed.ts';
import { DAY_LOAD, fleetLoad, runScale, type ScaleLoad } from './scale/run.ts';
import { shrink } from './shrink.ts';

const HELP = `npm run simulate -- [options]      schedules of the simulator; exit code 1 at the first that fails
npm run soak                      the same until one fails, or Ctrl-C

  --seconds N    new schedules for so long (default 60)
  --from S       from this seed on (default: the time of day)
  --jobs N       processes beside each other (default: all cores)
  --seed S       this one only; --trace prints everything that happened, --shrink looks for a shorter one

  --fleet N      N agents on one database, nothing goes wrong: lag and requests
  --day          ten agents for a day: requests by kind, and what docs/cost.md reckons with
  --json FILE    writes what --fleet or --day measured there, too
`;

/** The binding keeps the files of a closed LMDB open until the process ends: a process runs this many schedules. */
const SEEDS_PER_PROCESS = 60;
const STATUS_MS = 10_000;
const SHRINK_MS = 120_000;

type Report = { readonly seed: number; readonly events: number; readonly failure?: string };

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    from: { type: 'string' },
    jobs: { type: 'string' },
    seed: { type: 'string' },
    trace: { type: 'boolean', default: false },
    shrink: { type: 'boolean', default: false },
    fleet: { type: 'string' },
    day: { type: 'boolean', default: false },
    json: { type: 'string' },
    worker: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

async function main(): Promise<void> {
  if (values.help) {
    process.stdout.write(HELP);
  } else if (values.worker !== undefined) {
    await work(Number(values.worker));
  } else if (values.day) {
    await scale(DAY_LOAD);
  } else if (values.fleet !== undefined) {
    await scale(fleetLoad(Number(values.fleet)));
  } else if (values.seed !== undefined) {
    await one(Number(values.seed));
  } else {
    await many();
  }
}

/** A load in virtual time, and what it took. */
async function scale(load: ScaleLoad): Promise<void> {
  const report = await runScale(load, Number(values.seed ?? 1));
  const text = `${JSON.stringify(report, undefined, 2)}\n`;
  process.stdout.write(text);
  if (values.json === undefined) {
    return;
  }
  await mkdir(dirname(values.json), { recursive: true });
  await writeFile(values.json, text);
}

/** One schedule, with as much of it as is asked for. */
async function one(seed: number): Promise<void> {
  let result = await runSeed(seed);
  if (result.failure !== undefined && values.shrink) {
    const shorter = await shrink(result, { forMs: SHRINK_MS, now: () => performance.now() });
    result = shorter.result;
    process.stdout.write(`left out of ${result.traits.steps} actions: ${shorter.skip.size}\n`);
  }
  const { actions, events, hash, failure, trace } = result;
  if (failure !== undefined) {
    process.stdout.write(`${describe(result, values.trace ? Infinity : 60)}\n`);
    process.exitCode = 1;
    return;
  }
  if (values.trace) {
    process.stdout.write(`${trace.join('\n')}\n`);
  }
  process.stdout.write(`seed ${seed}: ok, ${actions} actions, ${events} events, trace ${hash}\n`);
}

/** Longer than any schedule takes, on a loaded machine, too. */
const ENDLESS_MS = 600_000;

/** New schedules in processes of their own, until the time is over or one fails. */
async function many(): Promise<void> {
  const seconds = Number(values.seconds);
  const startedMs = Date.now();
  const untilMs = startedMs + seconds * 1000;
  const first = Number(values.from ?? startedMs % 1_000_000_000);
  const jobs = Number(values.jobs ?? availableParallelism());
  let next = first;
  let done = 0;
  let events = 0;
  let failure: string | undefined;
  const children = new Set<ChildProcess>();
  const status = () => {
    const elapsed = Math.round((Date.now() - startedMs) / 1000);
    process.stdout.write(
      `${done} schedules, ${events} events, ${elapsed} s, seeds from ${first}\n`,
    );
  };
  const timer = setInterval(status, STATUS_MS);
  const end = () => {
    for (const child of children) {
      child.kill('SIGKILL');
    }
  };
  process.once('SIGINT', () => {
    failure ??= '';
    end();
  });
  const job = async () => {
    while (failure === undefined && Date.now() < untilMs) {
      const from = next;
      next += SEEDS_PER_PROCESS;
      const code = await batch(
        from,
        (report, child) => {
          if (failure !== undefined) {
            return;
          }
          done += 1;
          events += report.events;
          failure = report.failure;
          if (failure !== undefined) {
            end();
          } else if (Date.now() >= untilMs) {
            child.kill('SIGKILL');
          }
        },
        children,
      );
      if (code !== 0 && code !== null) {
        failure ??= `the process of the seeds from ${from} ended with ${code}`;
      }
    }
  };
  await Promise.all(Array.from({ length: jobs }, job));
  clearInterval(timer);
  status();
  if (failure === undefined || failure === '') {
    return;
  }
  process.stdout.write(`${failure}\n`);
  process.exitCode = 1;
}

function batch(
  from: number,
  onReport: (report: Report, child: ChildProcess) => void,
  children: Set<ChildProcess>,
): Promise<number | null> {
  const script = process.argv[1] ?? '';
  const child = fork(script, ['--worker', String(from)], { execArgv: process.execArgv });
  children.add(child);
  // A schedule is over in seconds. One that never ends would say nothing of itself.
  let seed = from;
  const tooLong = () => {
    onReport({ seed, events: 0, failure: `seed ${seed} has not ended in ${ENDLESS_MS} ms` }, child);
    child.kill('SIGKILL');
  };
  let timer = setTimeout(tooLong, ENDLESS_MS);
  child.on('message', (report) => {
    clearTimeout(timer);
    seed += 1;
    timer = setTimeout(tooLong, ENDLESS_MS);
    onReport(report as Report, child);
  });
  return new Promise((resolve) => {
    child.once('exit', (code) => {
      clearTimeout(timer);
      children.delete(child);
      resolve(code);
    });
  });
}

async function work(from: number): Promise<void> {
  for (let seed = from; seed < from + SEEDS_PER_PROCESS; seed += 1) {
    const result = await runSeed(seed);
    const { events } = result;
    const failure = result.failure === undefined ? {} : { failure: describe(result) };
    await new Promise<void>((resolve) => {
      process.send?.({ seed, events, ...failure } satisfies Report, () => resolve());
    });
    if (result.failure !== undefined) {
      break;
    }
  }
  process.disconnect?.();
}

await main();
