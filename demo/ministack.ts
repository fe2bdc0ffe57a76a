import type { ChildProcess } from 'node:child_process';
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleepFor } from 'node:timers/promises';

import { freePort } from './free-port.ts';
import { makeCertificate } from './certificate.ts';

// From the root, where npm runs every script of this project.
const SET_UP = join(process.cwd(), '.ci/setup-ministack.sh');
const NO_VENV_EXIT = 3;
const START_TIMEOUT_MS = 30_000;

export type MiniStackOptions = {
  /** Speaks TLS with a self-signed certificate, see {@link MiniStack.caFile}. */
  readonly tls?: boolean | undefined;
  /** More variables: `AUTH: 'true'` enforces policies. */
  readonly env?: Readonly<Record<string, string>> | undefined;
};

/** A running MiniStack: S3, SQS, IAM, Lambda and more, on 127.0.0.1 and a port of its own. */
export type MiniStack = {
  readonly endpoint: string;
  readonly port: number;
  readonly accountId: string;
  readonly accessKey: string;
  readonly secretKey: string;
  /** PEM of the certificate it serves, with `tls`. */
  readonly caFile: string | undefined;
  stop(): Promise<void>;
};

const ACCOUNT_ID = '111122223333';
const KEYS = { accessKey: 'test', secretKey: 'test' };

/**
 * The path of MiniStack's program, installed where missing (under `.venv`, once, whoever asks); undefined, with a
 * message on stderr, only where this machine has no `python3 -m venv`: then tests skip visibly, with `describe.skip`,
 * which is why this is synchronous. Throws when the installation fails.
 */
export function findMiniStack(): string | undefined {
  const { status, stdout, stderr, error } = spawnSync(SET_UP, {
    encoding: 'utf8',
    timeout: 300_000,
  });
  if (status === 0) {
    return stdout.trim();
  }
  if (status === NO_VENV_EXIT) {
    process.stderr.write(`no emulator of AWS: ${stderr.trim()}\n`);
    return undefined;
  }
  throw new Error(`cannot install MiniStack: ${error?.message ?? stderr.trim()}`);
}

/** Starts one, and waits until it answers. Several at once do not meet. Stop it in any case. */
export async function startMiniStack(
  program: string,
  options: MiniStackOptions = {},
): Promise<MiniStack> {
  const folder = await mkdtemp(join(tmpdir(), 'ministack-'));
  let child: ChildProcess | undefined;
  const stop = async () => {
    await endProcess(child);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const certificate = options.tls === true ? await makeCertificate(folder) : undefined;
    const port = await freePort();
    const endpoint = `${certificate === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
    const logPath = join(folder, 'ministack.log');
    const log = openSync(logPath, 'w');
    child = spawn(program, {
      cwd: folder,
      stdio: ['ignore', log, log],
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: folder,
        TMPDIR: folder,
        BIND_HOST: '127.0.0.1',
        GATEWAY_PORT: String(port),
        MINISTACK_HOST: '127.0.0.1',
        MINISTACK_ACCOUNT_ID: ACCOUNT_ID,
        AWS_ACCESS_KEY_ID: KEYS.accessKey,
        AWS_SECRET_ACCESS_KEY: KEYS.secretKey,
        ...(certificate === undefined
          ? {}
          : {
              USE_SSL: '1',
              MINISTACK_SSL_CERT: certificate.certFile,
              MINISTACK_SSL_KEY: certificate.keyFile,
              // For the SDK in the Lambdas that it runs.
              NODE_EXTRA_CA_CERTS: certificate.certFile,
            }),
        ...options.env,
      },
    });
    closeSync(log);
    await waitUntilHealthy(child, { endpoint, logPath });
    return {
      endpoint,
      port,
      accountId: ACCOUNT_ID,
      ...KEYS,
      caFile: certificate?.certFile,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function waitUntilHealthy(
  child: ChildProcess,
  where: { endpoint: string; logPath: string },
): Promise<void> {
  let spawnError: Error | undefined;
  child.once('error', (error) => (spawnError = error));
  for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS; waitedMs += 25) {
    if (spawnError !== undefined || child.exitCode !== null || child.signalCode !== null) {
      break;
    }
    if (await answers(`${where.endpoint}/_ministack/health`)) {
      return;
    }
    await sleepFor(25);
  }
  const log = await readFile(where.logPath, 'utf8').catch(() => '');
  throw new Error(
    `MiniStack did not start at ${where.endpoint}: ${spawnError?.message ?? ''}\n${log.slice(-2000)}`,
  );
}

function answers(url: string): Promise<boolean> {
  return new Promise((resolveAnswer) => {
    const request = (url.startsWith('https:') ? httpsRequest : httpRequest)(
      url,
      { rejectUnauthorized: false, timeout: 2000 },
      (response) => {
        response.resume();
        response.once('close', () => resolveAnswer(response.statusCode === 200));
      },
    );
    request.once('timeout', () => request.destroy());
    request.once('error', () => resolveAnswer(false));
    request.end();
  });
}

async function endProcess(child: ChildProcess | undefined): Promise<void> {
  if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) {
    return;
  }
  const ended = new Promise<void>((resolveEnd) => child.once('exit', () => resolveEnd()));
  child.kill('SIGTERM');
  const kill = setTimeout(() => child.kill('SIGKILL'), 5000);
  await ended;
  clearTimeout(kill);
}
