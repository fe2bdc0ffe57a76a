/** The keys of a configuration, of whatever storage. */
export type KeyOptions = {
  readonly accessKey?: string | undefined;
  readonly secretKey?: string | undefined;
  readonly accessKeyFile?: string | undefined;
  readonly secretKeyFile?: string | undefined;
  readonly accountKey?: string | undefined;
  readonly accountKeyFile?: string | undefined;
};

/** Tells open clients which keys are configured now; key files are then read at the next request. */
export class KeyReload {
  readonly #listeners: ((options: KeyOptions) => void)[] = [];

  onReload(listener: (options: KeyOptions) => void): void {
    this.#listeners.push(listener);
  }

  reload(options: KeyOptions): void {
    this.#listeners.forEach((listener) => listener(options));
  }
}
