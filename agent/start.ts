import type { start } from './main.ts';

// The first file that runs, and a bundle of its own: what the agent is made of takes its time to load, and a signal
// that nobody takes meanwhile ends the process, or opens Node's debugger.
const early: NodeJS.Signals[] = [];
const note = (signal: NodeJS.Signals): void => {
  early.push(signal);
};
const taken = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;
taken.forEach((signal) => process.on(signal, note));

/** Gives back the signals that came so far, and takes no more. */
function release(): NodeJS.Signals[] {
  taken.forEach((signal) => process.removeListener(signal, note));
  return early;
}

void import('./main.ts').then((main: { readonly start: typeof start }) => main.start(release));
