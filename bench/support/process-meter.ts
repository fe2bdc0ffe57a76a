import { readFileSync } from 'node:fs';

// The unit of times in /proc/PID/stat; 100 on every Linux that Node runs on.
const TICK_MS = 10;
const SAMPLE_INTERVAL_MS = 10;

/** CPU time of a process since its start, user and system, all threads. Undefined once it is gone. */
export function cpuTimeMs(pid: number): number | undefined {
  const stat = readProc(pid, 'stat');
  if (stat === undefined) {
    return undefined;
  }
  // The command's name, in brackets, may hold spaces; the fields behind it may not.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}

/** Memory of a process that is its own: mapped files (the LMDB) are the kernel's to keep or drop. */
function anonymousMemoryMb(pid: number): number | undefined {
  const status = readProc(pid, 'status');
  const match = /^RssAnon:\s+(\d+) kB/m.exec(status ?? '');
  return match === null ? undefined : (Number(match[1]) * 1024) / 1e6;
}

/** Watches a process until stopped; keeps the last CPU time and the highest memory that it saw. */
export class ProcessMeter implements Disposable {
  cpuMs = 0;
  peakMemoryMb = 0;
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.sample(), SAMPLE_INTERVAL_MS);
    this.sample();
  }

  sample(): void {
    this.cpuMs = cpuTimeMs(this.#pid) ?? this.cpuMs;
    this.peakMemoryMb = Math.max(this.peakMemoryMb, anonymousMemoryMb(this.#pid) ?? 0);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}
