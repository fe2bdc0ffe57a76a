import type { ChildProcess } from 'node:child_process';

type Write = { readonly key: string; readonly timeNs: bigint; readonly value: string | undefined };

/** What a writer that may be killed said of its writes: which it began, and which are committed. */
export class Acknowledged {
  /** Number of the last write that was begun. */
  last = 0;
  readonly #begun = new Map<number, Write>();
  readonly #committed = new Map<string, Write>();

  /** Listens to a new process of this writer; resolves at its first word. */
  async listen(child: ChildProcess): Promise<void> {
    let rest = '';
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => reject(new Error('the writer ended at its start')));
      child.stdout?.on('data', (chunk: Buffer) => {
        const lines = (rest + chunk.toString()).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          this.#hear(line);
        }
        resolve();
      });
    });
  }

  get committed(): number {
    return this.last - this.#begun.size;
  }

  /**
   * What is wrong with what a host holds of this writer's keys (undefined: the key is absent or deleted): a write that was committed is
   * missing. One that was begun, and of which nobody knows whether it was committed, may be there or not.
   */
  faults(read: (key: string) => string | undefined): string[] {
    const faults: string[] = [];
    for (const [key, { value, timeNs }] of this.#committed) {
      const found = read(key);
      const possible = [...this.#begun.values()].filter(
        (write) => write.key === key && write.timeNs > timeNs,
      );
      if (found === value || possible.some((write) => write.value === found)) {
        continue;
      }
      faults.push(`${key} is ${found ?? 'absent'}, not ${value ?? 'absent'}`);
    }
    return faults;
  }

  #hear(line: string): void {
    const [word, number = '', key = '', timeNs = '0', ...value] = line.split(' ');
    if (word === 'i') {
      this.last = Number(number);
      const text = value.length === 0 ? undefined : value.join(' ');
      this.#begun.set(this.last, { key, timeNs: BigInt(timeNs), value: text });
    } else if (word === 'a') {
      const write = this.#begun.get(Number(number));
      if (write === undefined) {
        return;
      }
      this.#begun.delete(Number(number));
      this.#committed.set(write.key, write);
    }
  }
}
