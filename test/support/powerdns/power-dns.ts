import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../../../demo/free-port.ts';
import { queryDns, type DnsQuestion } from './dns-query.ts';
import type { DnsMessage } from './dns-message.ts';

const run = promisify(execFile);
const API_KEY = 'key of the tests';
const START_TIMEOUT_MS = 20_000;
/** A command that waits longer for the LMDB than this hangs. */
const COMMAND_TIMEOUT_MS = 60_000;

export type PowerDnsOptions = {
  /** Where PowerDNS is installed. */
  readonly root: string;
  /** Of this server: its LMDB, its configuration and its log; a path inside the root. */
  readonly folder: string;
  /** Lines of pdns.conf besides addresses, paths and the API. */
  readonly settings: Readonly<Record<string, string | number>>;
};

/** How long a run of pdnsutil took. */
export type CommandTime = { readonly command: string; readonly ms: number };

/** One PowerDNS Authoritative Server with an LMDB of its own, in a chroot, on ports of its own of 127.0.0.1. */
export class PowerDns {
  readonly apiUrl: string;
  readonly apiKey = API_KEY;
  readonly folder: string;
  readonly commandTimes: CommandTime[] = [];
  readonly #options: PowerDnsOptions;
  readonly #dnsPort: number;
  readonly #logFile: string;
  #child: ChildProcess | undefined;

  private constructor(options: PowerDnsOptions, ports: { dns: number; api: number }) {
    this.#options = options;
    this.folder = join(options.root, options.folder);
    this.#logFile = join(this.folder, 'pdns.log');
    this.#dnsPort = ports.dns;
    this.apiUrl = `http://127.0.0.1:${ports.api}`;
  }

  /** Writes its configuration and starts it. */
  static async start(options: PowerDnsOptions): Promise<PowerDns> {
    const ports = { dns: await freePort(), api: await freePort() };
    const server = new PowerDns(options, ports);
    const settings = {
      launch: 'lmdb',
      'lmdb-filename': join(options.folder, 'pdns.lmdb'),
      'lmdb-shards': 1,
      'local-address': '127.0.0.1',
      'local-port': ports.dns,
      'socket-dir': options.folder,
      api: 'yes',
      'api-key': API_KEY,
      webserver: 'yes',
      'webserver-address': '127.0.0.1',
      'webserver-port': ports.api,
      'webserver-allow-from': '127.0.0.1',
      loglevel: 4,
      // No question to anybody outside.
      'security-poll-suffix': '',
      ...options.settings,
    };
    const lines = Object.entries(settings).map(([key, value]) => `${key}=${value}\n`);
    await writeFile(join(server.folder, 'pdns.conf'), lines.join(''));
    await server.restart();
    return server;
  }

  get mainFile(): string {
    return join(this.folder, 'pdns.lmdb');
  }

  get shardFile(): string {
    return join(this.folder, 'pdns.lmdb-0');
  }

  /** Starts it, again; resolves when it answers. */
  async restart(): Promise<void> {
    const { root, folder } = this.#options;
    const log = openSync(this.#logFile, 'a');
    const child = spawn(
      'chroot',
      [
        root,
        'pdns_server',
        `--config-dir=${folder}`,
        '--daemon=no',
        '--guardian=no',
        '--setuid=',
        '--setgid=',
      ],
      { stdio: ['ignore', log, log] },
    );
    closeSync(log);
    this.#child = child;
    const end = performance.now() + START_TIMEOUT_MS;
    while (child.exitCode === null && child.signalCode === null && performance.now() < end) {
      const isUp = await this.api('GET', '').then(
        () => true,
        () => false,
      );
      if (isUp) {
        return;
      }
      await sleep(20);
    }
    const text = await readFile(this.#logFile, 'utf8');
    throw new Error(`PowerDNS did not start: ${text.slice(-2000)}`);
  }

  /** Ends it; nothing where it does not run. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
      return;
    }
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }

  /** Runs the command line tool, measures it, and returns what it printed. Rejects where it fails. */
  async pdnsutil(...args: readonly string[]): Promise<string> {
    const { root, folder } = this.#options;
    const startMs = performance.now();
    const { stdout } = await run('chroot', [root, 'pdnsutil', `--config-dir=${folder}`, ...args], {
      timeout: COMMAND_TIMEOUT_MS,
    });
    this.commandTimes.push({ command: args[0] ?? '', ms: performance.now() - startMs });
    return stdout;
  }

  /** One request to the HTTP API; `path` is what comes behind `/servers/localhost`. */
  async api(method: string, path: string, body?: object): Promise<unknown> {
    const response = await fetch(`${this.apiUrl}/api/v1/servers/localhost${path}`, {
      method,
      headers: { 'X-API-Key': API_KEY },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(COMMAND_TIMEOUT_MS),
    });
    const text = await response.text();
    if (!response.ok) {
      throw new Error(`${method} ${path}: ${response.status} ${text}`);
    }
    return text === '' ? undefined : JSON.parse(text);
  }

  query(question: DnsQuestion): Promise<DnsMessage> {
    return queryDns(this.#dnsPort, question);
  }

  /**
   * All entries of its LMDBs as LMDB's own tool prints them: DBI, its flags, key and value in hexadecimal, one line
   * each. Of the headers of registers the transaction id is left out, which is every host's own.
   */
  async dump(options: { readonly headers: 'all' | 'shadow' }): Promise<string[]> {
    const { root, folder } = this.#options;
    const lines: string[] = [];
    for (const file of ['pdns.lmdb', 'pdns.lmdb-0']) {
      const { stdout } = await run('chroot', [root, 'mdb_dump', '-n', '-a', join(folder, file)], {
        maxBuffer: 1 << 28,
      });
      lines.push(...dumpLines(stdout, options).map((line) => `${file} ${line}`));
    }
    return lines;
  }
}

/** Facts of a DBI that are not the file's: everything but size and place. */
const DBI_FLAGS = new Set(['reversekey', 'integerkey', 'dupsort', 'dupfixed', 'integerdup']);
/** Hexadecimal digits of the header: time, then transaction. */
const TIME_DIGITS = 16;
const TXN_DIGITS = 16;

function dumpLines(text: string, { headers }: { headers: 'all' | 'shadow' }): string[] {
  const lines: string[] = [];
  let dbi = '';
  let flags: string[] = [];
  let key: string | undefined;
  for (const line of text.split('\n')) {
    if (!line.startsWith(' ')) {
      const [name = '', value = ''] = line.split('=');
      if (name === 'VERSION') {
        flags = [];
      }
      if (name === 'database') {
        dbi = value;
      }
      if (DBI_FLAGS.has(name)) {
        flags.push(name);
      }
      if (name === 'HEADER') {
        lines.push([dbi, ...flags].join(' '));
      }
    } else if (key === undefined) {
      key = line.trim();
    } else {
      const value = line.trim();
      const hasHeader = headers === 'all' || dbi.startsWith('_sync_shadow_');
      const shown = hasHeader
        ? `${value.slice(0, TIME_DIGITS)} ${value.slice(TIME_DIGITS + TXN_DIGITS)}`
        : value;
      lines.push(`${dbi} ${key} ${shown}`);
      key = undefined;
    }
  }
  return lines.filter((line) => !line.startsWith('_sync_state'));
}
