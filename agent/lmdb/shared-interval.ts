import { timerMs } from '../../protocol/time.ts';

type Ticker = { readonly timer: NodeJS.Timeout; readonly callbacks: Set<() => void> };

const tickers = new Map<number, Ticker>();

/**
 * Calls again and again, every `ms`, until the function that it returned is called. Whoever asks for the same interval
 * is called in the same turn: an agent with 64 databases wakes once a second instead of 64 times.
 */
export function sharedInterval(ms: number, callback: () => void): () => void {
  const { timer, callbacks } = tickers.get(ms) ?? startTicker(ms);
  // Of its own, so that the same function can be asked for twice.
  const call = () => callback();
  callbacks.add(call);
  return () => {
    callbacks.delete(call);
    if (callbacks.size > 0 || tickers.get(ms)?.timer !== timer) {
      return;
    }
    clearInterval(timer);
    tickers.delete(ms);
  };
}

function startTicker(ms: number): Ticker {
  const callbacks = new Set<() => void>();
  const tick = () => {
    for (const call of callbacks) {
      call();
    }
  };
  const ticker = { timer: setInterval(tick, timerMs(ms)), callbacks };
  tickers.set(ms, ticker);
  return ticker;
}
