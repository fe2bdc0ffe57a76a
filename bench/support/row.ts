/** One line of the benchmark's table. A bench reports medians; what is behind them is its own affair. */
export type Row = {
  /** What was measured, with its size: "page diff, 1 change in 1,000,000". Unique in a run. */
  readonly name: string;
  readonly value: number;
  /** Of value, target and peer alike: "ms", "MB", "bytes", "%". */
  readonly unit: string;
  /** The upper bound that the project set itself; no target: the row is for information. */
  readonly target?: number | undefined;
  /** The same measured with upstream's binary, in the same run with the same work. */
  readonly peer?: number | undefined;
};

/** What every `*.bench.ts` exports as `run`. */
export type Bench = (options: BenchOptions) => Promise<Row[]>;

export type BenchOptions = {
  /** Entries in the databases that stand for "a large one"; 1,000,000 unless told otherwise. */
  readonly records: number;
  /** Path of upstream's binary, to be measured side by side with the same work. */
  readonly peer?: string | undefined;
};
