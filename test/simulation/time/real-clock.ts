/** What measures how long the write lock is held must not depend on this machine. */
export function realClock(): { freeze(nowMs: () => number): void; restore(): void } {
  const now = performance.now.bind(performance);
  let looks = 0;
  return {
    freeze(nowMs) {
      performance.now = () => {
        looks += 1;
        return nowMs() + looks * 0.01;
      };
    },
    restore() {
      performance.now = now;
    },
  };
}
