import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { makeCertificate } from '../../../demo/certificate.ts';
import { freePort } from '../../../demo/free-port.ts';

const SET_UP = join(process.cwd(), '.ci/setup-azurite.sh');
const START_TIMEOUT_MS = 30_000;

/** A running Azurite: Azure's Blob storage on 127.0.0.1 and a port of its own, in memory. */
export type Azurite = {
  /** With the account's name as its path, as Azurite wants it. */
  readonly endpoint: string;
  readonly accountName: string;
  readonly accountKey: string;
  /** PEM of the certificate it serves, with `tls`. */
  readonly caFile: string | undefined;
  stop(): Promise<void>;
};

/** The path of Azurite's program, installed where missing (under `.venv`, once, whoever asks). Throws where that fails. */
export function findAzurite(): string {
  const { status, stdout, stderr, error } = spawnSync(SET_UP, {
    encoding: 'utf8',
    timeout: 300_000,
  });
  if (status !== 0) {
    throw new Error(`cannot install Azurite: ${error?.message ?? stderr.trim()}`);
  }
  return stdout.trim();
}

/** Starts one and waits until it listens. With `tls` it speaks https and takes tokens too. Stop it in any case. */
export async function startAzurite(
  program: string,
  { tls = false }: { readonly tls?: boolean } = {},
): Promise<Azurite> {
  const folder = await mkdtemp(join(tmpdir(), 'azurite-'));
  const accountName = 'testaccount';
  const accountKey = randomBytes(64).toString('base64');
  let child: ChildProcess | undefined;
  let said = '';
  const stop = async () => {
    if (child !== undefined && child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const certificate = tls ? await makeCertificate(folder) : undefined;
    const port = await freePort();
    const secure =
      certificate === undefined
        ? []
        : ['--cert', certificate.certFile, '--key', certificate.keyFile, '--oauth', 'basic'];
    const where = ['--blobHost', '127.0.0.1', '--blobPort', String(port)];
    // The SDK's version of the protocol is newer than Azurite's list of them.
    const how = [
      '--inMemoryPersistence',
      '--silent',
      '--disableTelemetry',
      '--skipApiVersionCheck',
    ];
    child = spawn(process.execPath, [program, ...where, ...how, ...secure], {
      cwd: folder,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: process.env['PATH'], AZURITE_ACCOUNTS: `${accountName}:${accountKey}` },
    });
    child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await waitForPort(child, port);
    const endpoint = `${tls ? 'https' : 'http'}://127.0.0.1:${port}/${accountName}`;
    return { endpoint, accountName, accountKey, caFile: certificate?.certFile, stop };
  } catch (error) {
    await stop();
    throw new Error(`Azurite did not start: ${said.slice(-2000)}`, { cause: error });
  }
}

async function waitForPort(child: ChildProcess, port: number): Promise<void> {
  for (let waitedMs = 0; waitedMs < START_TIMEOUT_MS; waitedMs += 50) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`it ended with ${child.exitCode ?? child.signalCode}`);
    }
    const socket = connect(port, '127.0.0.1');
    const listens = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (listens) {
      return;
    }
    await sleep(50);
  }
  throw new Error(`nothing listens on ${port}`);
}
