import inspector from 'node:inspector';
import { SyncError } from '../../protocol/errors.ts';

/** Exit codes that a shell gives for a process that was ended by one of these. */
export const SIGNAL_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

/** A signal that asks for the end. */
export type EndingSignal = keyof typeof SIGNAL_CODES;

/** What a command that runs for long does when it is asked for something by a signal. */
export type SignalHandlers = {
  /** SIGHUP: reads the configuration again. */
  readonly reload: () => void;
  /** SIGUSR1 and SIGUSR2: says in the log how it is. */
  readonly status: () => void;
};

/** How commands take part in what signals do. */
export interface SignalSource {
  /** From now on signals ask for these; a SIGHUP that came before is carried out at once. */
  serve(handlers: SignalHandlers): void;
  /** There is nothing to read again: SIGHUP ends this command as SIGTERM does. */
  endOnHangup(): void;
  /** The main thread may block inside LMDB, where it hears of no signal: the kernel ends the process then. */
  letKernelEnd(): void;
}

const DEBUGGER_LOOKS_MS = [0, 100, 1000];

/**
 * Takes the signals of this process. Without a listener they end it, and SIGUSR1 makes Node open its debugger, by
 * which every local user may run code as this one.
 */
export class ProcessSignals implements SignalSource {
  /** What a second signal to end does; it must end the process at once. */
  endAtOnce: (signal: EndingSignal) => void = endBySignal;
  readonly #stop = new AbortController();
  #endedBy: EndingSignal | undefined;
  #handlers: SignalHandlers | undefined;
  #hangup: 'unknown' | 'end' | 'reload' = 'unknown';
  #waitingHangup = false;

  constructor() {
    process.on('SIGTERM', () => this.#end('SIGTERM'));
    process.on('SIGINT', () => this.#end('SIGINT'));
    process.on('SIGHUP', () => this.#hangUp());
    process.on('SIGUSR1', () => this.#handlers?.status());
    process.on('SIGUSR2', () => this.#handlers?.status());
    // One that was asked for before there was a listener opens a moment later.
    closeDebugger();
    DEBUGGER_LOOKS_MS.forEach((afterMs) => setTimeout(closeDebugger, afterMs).unref());
  }

  /** Aborts when the process is asked to end. */
  get stop(): AbortSignal {
    return this.#stop.signal;
  }

  /** SIGHUP asked for the end, because the terminal was closed. */
  get hasLostTerminal(): boolean {
    return this.#endedBy === 'SIGHUP' && process.stderr.isTTY;
  }

  /** The exit code of whoever was ended by a signal; undefined: nobody asked for the end. */
  get exitCode(): number | undefined {
    return this.#endedBy && SIGNAL_CODES[this.#endedBy];
  }

  serve(handlers: SignalHandlers): void {
    this.#handlers = handlers;
    this.#hangup = 'reload';
    this.#carryOut();
  }

  endOnHangup(): void {
    this.#hangup = 'end';
    this.#carryOut();
  }

  letKernelEnd(): void {
    for (const name of Object.keys(SIGNAL_CODES)) {
      process.removeAllListeners(name);
    }
  }

  #hangUp(): void {
    // Whoever closes a terminal sends it, too; there it means the end.
    if (process.stderr.isTTY) {
      this.#end('SIGHUP');
      return;
    }
    // Until the command line is read nobody knows what it asks for.
    this.#waitingHangup = true;
    this.#carryOut();
  }

  #carryOut(): void {
    if (!this.#waitingHangup || this.#hangup === 'unknown') {
      return;
    }
    this.#waitingHangup = false;
    if (this.#hangup === 'reload') {
      this.#handlers?.reload();
    } else {
      this.#end('SIGHUP');
    }
  }

  /** The first asks for a clean end; whoever asks twice does not want to wait. */
  #end(signal: EndingSignal): void {
    if (this.#stop.signal.aborted) {
      this.endAtOnce(signal);
      return;
    }
    this.#endedBy = signal;
    this.#stop.abort(new SyncError('USAGE', `stopped by ${signal}`));
  }
}

/**
 * Closes a debugger that SIGUSR1 opened before there was a listener. One that was asked for by a flag stays.
 */
function closeDebugger(): void {
  const flags = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''];
  if (inspector.url() !== undefined && !flags.some((flag) => flag.includes('--inspect'))) {
    inspector.close();
    process.stderr.write('closed the debugger, which a SIGUSR1 during the start had opened\n');
  }
}

/**
 * Ends the process by a signal of its own. `process.exit` waits for every thread, and one that waits inside LMDB for
 * the write lock does not hear of it. Process 1 of a container cannot be ended so: the signal is dropped there.
 */
export function endBySignal(signal: EndingSignal | 'SIGKILL'): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}
