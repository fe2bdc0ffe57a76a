import { ProcessSignals } from '../../../agent/process/signals.ts';

const TAKEN = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const;
const isTerminal = process.stderr.isTTY;

let signals: ProcessSignals;
let listenersBefore: Map<string, NodeJS.SignalsListener[]>;
beforeEach(() => {
  // Those of the test runner must not hear of what is emitted here.
  listenersBefore = new Map(TAKEN.map((name) => [name, process.listeners(name)]));
  TAKEN.forEach((name) => process.removeAllListeners(name));
  process.stderr.isTTY = false;
  signals = new ProcessSignals();
});
afterEach(() => {
  for (const [name, listeners] of listenersBefore) {
    process.removeAllListeners(name);
    listeners.forEach((listener) => process.on(name, listener));
  }
  process.stderr.isTTY = isTerminal;
});

function served() {
  const calls: string[] = [];
  signals.serve({ reload: () => calls.push('reload'), status: () => calls.push('status') });
  return calls;
}

test('a SIGHUP that comes before anybody can read the configuration again is carried out then', () => {
  process.emit('SIGHUP');
  process.emit('SIGUSR1');
  expect(served()).toEqual(['reload']);
  expect(signals.stop.aborted).toBe(false);
});

test('each signal asks for its own', () => {
  const calls = served();
  process.emit('SIGUSR1');
  process.emit('SIGHUP');
  process.emit('SIGUSR2');
  expect(calls).toEqual(['status', 'reload', 'status']);
  expect(signals.exitCode).toBeUndefined();
});

test('a command that has nothing to read again is ended by SIGHUP, before and after it is known', () => {
  process.emit('SIGHUP');
  expect(signals.stop.aborted).toBe(false);
  signals.endOnHangup();
  expect(signals.stop.aborted).toBe(true);
  expect(signals.exitCode).toBe(129);
});

test('the SIGHUP of a closed terminal asks for a clean end', () => {
  const calls = served();
  process.stderr.isTTY = true;
  process.emit('SIGHUP');
  expect(calls).toEqual([]);
  expect(signals.stop.aborted).toBe(true);
  expect(signals.hasLostTerminal).toBe(true);
});

test('the first signal asks for a clean end, the second one for an end at once', () => {
  const atOnce: string[] = [];
  signals.endAtOnce = (signal) => atOnce.push(signal);
  process.emit('SIGTERM');
  expect({ atOnce, code: signals.exitCode }).toEqual({ atOnce: [], code: 143 });
  process.emit('SIGINT');
  expect(atOnce).toEqual(['SIGINT']);
});

test('where the main thread may block nobody takes the signals to end', () => {
  signals.letKernelEnd();
  expect(['SIGTERM', 'SIGINT', 'SIGHUP'].map((name) => process.listenerCount(name))).toEqual([
    0, 0, 0,
  ]);
  expect(process.listenerCount('SIGUSR1')).toBe(1);
});
