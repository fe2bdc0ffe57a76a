import fs from 'node:fs';
import fsPromises from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';

/** What of zlib's handle inside Node is used here; its field for errors is set by Node itself. */
type ZlibHandle = {
  onerror: (...args: unknown[]) => void;
  init(...args: unknown[]): unknown;
  write(...args: unknown[]): void;
  writeSync(...args: unknown[]): void;
};
type Callback = (this: ZlibHandle) => void;

let done = false;

/**
 * Makes streams of zlib and the files of spools work in this thread: on the thread pool several of them would end in any
 * order. A process that simulates calls this once; it stays so.
 */
export function makeThreadPoolDeterministic(): void {
  if (done) {
    return;
  }
  done = true;
  makeZlibDeterministic();
  makeSpoolsDeterministic();
}

const SPOOL = '.spool';

/** Only files with that ending, so that nothing else in the process changes. */
function makeSpoolsDeterministic(): void {
  const { open, unlink } = fsPromises;
  const { createReadStream } = fs;
  fsPromises.open = (async (path: string, flags: string, mode: number) => {
    if (!path.endsWith(SPOOL)) {
      return open(path, flags, mode);
    }
    const fd = fs.openSync(path, flags, mode);
    return {
      write: async (chunk: Uint8Array, offset: number) => ({
        bytesWritten: fs.writeSync(fd, chunk, offset),
      }),
      close: async () => fs.closeSync(fd),
    };
  }) as typeof open;
  fsPromises.unlink = async (path) => {
    if (String(path).endsWith(SPOOL)) {
      fs.rmSync(path);
    } else {
      await unlink(path);
    }
  };
  fs.createReadStream = ((path: string, options: object) =>
    path.endsWith(SPOOL)
      ? Readable.from([fs.readFileSync(path)])
      : createReadStream(path, options)) as typeof createReadStream;
  syncBuiltinESMExports();
}

function makeZlibDeterministic(): void {
  const sample = createGunzip() as unknown as { _handle: ZlibHandle; close(): void };
  const prototype = Object.getPrototypeOf(sample._handle) as ZlibHandle;
  sample.close();
  const callbacks = new WeakMap<ZlibHandle, Callback>();
  const { init } = prototype as { init: (this: ZlibHandle, ...args: unknown[]) => unknown };
  prototype.init = function initNoted(this: ZlibHandle, ...args: unknown[]) {
    const callback = args.find((arg) => typeof arg === 'function');
    if (callback !== undefined) {
      callbacks.set(this, callback as Callback);
    }
    return init.apply(this, args);
  };
  prototype.write = function writeHere(this: ZlibHandle, ...args: unknown[]) {
    let failed = false;
    const { onerror } = this;
    this.onerror = function noteError(this: ZlibHandle, ...error: unknown[]) {
      failed = true;
      onerror.apply(this, error);
    };
    this.writeSync(...args);
    this.onerror = onerror;
    if (!failed) {
      setImmediate(() => callbacks.get(this)?.call(this));
    }
  };
}
