import { ProcessSignals } from './process-signals.ts';

/** The signals of this process, taken from here on. Imported before all that takes time to load. */
export const processSignals = new ProcessSignals();
