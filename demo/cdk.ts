import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { MiniStack } from './ministack.ts';

/** Where the emulator's stacks live. */
export const REGION = 'us-east-1';
/** Beyond this something hangs: both calls together take about twenty seconds. */
const CDK_TIMEOUT_MS = 150_000;

/** What the deployed stack says about itself, by the names of its outputs. */
export type StackOutputs = Readonly<Record<string, string>>;

/**
 * Bootstraps the emulator's account and deploys the project's own app there, with the ordinary CDK command and this
 * `lightningstream` context. Leaves `outputs.json` and `cdk.out` in the folder.
 */
export async function deployStack(
  ministack: MiniStack,
  options: { readonly config: object; readonly folder: string },
): Promise<StackOutputs> {
  const { config, folder } = options;
  const outputsFile = join(folder, 'outputs.json');
  const common = [
    '--no-notices',
    '--output',
    join(folder, 'cdk.out'),
    '--context',
    `lightningstream=${JSON.stringify(config)}`,
  ];
  await cdk(ministack, ['bootstrap', `aws://${ministack.accountId}/${REGION}`, ...common]);
  const deploy = ['deploy', '--all', '--require-approval', 'never', '--outputs-file', outputsFile];
  await cdk(ministack, [...deploy, ...common]);
  return readStackOutputs(outputsFile);
}

/** Reads the file that `cdk deploy --outputs-file` wrote; of all stacks of the app. */
export async function readStackOutputs(file: string): Promise<StackOutputs> {
  const stacks = JSON.parse(await readFile(file, 'utf8')) as Record<string, StackOutputs>;
  return Object.assign({}, ...Object.values(stacks)) as StackOutputs;
}

/** An output that must be there. */
export function requireOutput(outputs: StackOutputs, name: string): string {
  const value = outputs[name];
  if (value === undefined) {
    throw new Error(`the stack has no output ${name}`);
  }
  return value;
}

async function cdk(ministack: MiniStack, args: readonly string[]): Promise<void> {
  const { caFile, endpoint, accessKey, secretKey } = ministack;
  // From the root, where npm runs every script of this project.
  const program = join(process.cwd(), 'node_modules/aws-cdk/bin/cdk');
  try {
    await promisify(execFile)(process.execPath, [program, ...args], {
      timeout: CDK_TIMEOUT_MS,
      killSignal: 'SIGKILL',
      maxBuffer: 64 * 1024 * 1024,
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        CI: 'true',
        AWS_ENDPOINT_URL: endpoint,
        AWS_ACCESS_KEY_ID: accessKey,
        AWS_SECRET_ACCESS_KEY: secretKey,
        AWS_REGION: REGION,
        ...(caFile === undefined ? {} : { AWS_CA_BUNDLE: caFile, NODE_EXTRA_CA_CERTS: caFile }),
      },
    });
  } catch (error) {
    const { stderr = '', stdout = '' } = error as { stderr?: string; stdout?: string };
    throw new Error(`cdk ${args[0]} failed:\n${stdout.slice(-3000)}\n${stderr.slice(-3000)}`, {
      cause: error,
    });
  }
}
