import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { openS3Store, type S3ObjectStore } from '../../protocol/storage/s3.ts';
import type { MiniStack } from './ministack.ts';
import type { Surroundings } from './scenario.ts';

const REGION = 'us-east-1';
const STAGE = 'demo';
/** Beyond this something hangs: both calls together take about twenty seconds. */
const CDK_TIMEOUT_MS = 120_000;
/** The first run of a Lambda on the emulator takes seconds. */
const ARRIVAL_TIMEOUT_MS = 30_000;

/** The parts of the configuration of an agent, as the stack gives it out, that the demo needs. */
type AgentYaml = {
  readonly storage: { readonly options: { readonly bucket: string; readonly region: string } };
  readonly notices: { readonly queue_prefix: string };
};

/** The project's own stack, deployed on an emulator. */
export class AwsDeployment {
  readonly #ministack: MiniStack;
  readonly #outputs: Readonly<Record<string, string>>;

  private constructor(ministack: MiniStack, outputs: Readonly<Record<string, string>>) {
    this.#ministack = ministack;
    this.#outputs = outputs;
  }

  /** Bootstraps the account and deploys for these agents, with the ordinary CDK command. */
  static async deploy(
    ministack: MiniStack,
    options: { readonly agents: readonly string[]; readonly folder: string },
  ): Promise<AwsDeployment> {
    const { agents, folder } = options;
    const outputsFile = join(folder, 'outputs.json');
    // No schedule comes in between: the demo sends the job. What is covered may go at once.
    const config = { stage: STAGE, agents, mustKeepMinutes: 0, compactionMinutes: 60 };
    const common = [
      '--no-notices',
      '--output',
      join(folder, 'cdk.out'),
      '--context',
      `lightningstream=${JSON.stringify(config)}`,
    ];
    await cdk(ministack, ['bootstrap', `aws://${ministack.accountId}/${REGION}`, ...common]);
    const deploy = ['deploy', '--require-approval', 'never', '--outputs-file', outputsFile];
    await cdk(ministack, [...deploy, ...common]);
    const stacks = JSON.parse(await readFile(outputsFile, 'utf8')) as Record<
      string,
      Record<string, string>
    >;
    return new AwsDeployment(ministack, Object.values(stacks)[0] ?? {});
  }

  /** What the agents of the demo are started with: the configuration from the stack, and the emulator's address. */
  surroundings(): Surroundings {
    return {
      timeoutMs: ARRIVAL_TIMEOUT_MS,
      agentOptions: (name) => {
        const { endpoint, accessKey, secretKey } = this.#ministack;
        const { storage, notices } = this.#agentYaml(name);
        const { bucket, region } = storage.options;
        return {
          storage: `  type: s3
  options: { bucket: ${bucket}, region: ${region}, endpoint_url: "${endpoint}" }
`,
          settings: `notices: { type: sqs, queue_prefix: ${notices.queue_prefix}, region: ${region}, endpoint_url: "${endpoint}" }
`,
          // The credential chain of the SDK, as on a host.
          env: { AWS_ACCESS_KEY_ID: accessKey, AWS_SECRET_ACCESS_KEY: secretKey },
        };
      },
    };
  }

  /** The bucket. */
  openStore(): Promise<S3ObjectStore> {
    const { endpoint, accessKey, secretKey } = this.#ministack;
    const bucket = this.#output('BucketName');
    return openS3Store({ bucket, region: REGION, endpointUrl: endpoint, accessKey, secretKey });
  }

  /** Sends the job that the schedule would send. */
  async requestCompaction(database: string): Promise<void> {
    const { endpoint, accessKey } = this.#ministack;
    const response = await fetch(endpoint, {
      method: 'POST',
      headers: {
        'content-type': 'application/x-amz-json-1.0',
        'x-amz-target': 'AmazonSQS.SendMessage',
        // The emulator takes the region from here and checks no signature.
        authorization: `AWS4-HMAC-SHA256 Credential=${accessKey}/20260101/${REGION}/sqs/aws4_request, SignedHeaders=host, Signature=none`,
      },
      body: JSON.stringify({
        QueueUrl: this.#output('CompactionJobsUrl'),
        MessageBody: JSON.stringify({ database, at: new Date().toISOString() }),
        MessageGroupId: database,
      }),
    });
    if (!response.ok) {
      throw new Error(`the job for ${database} was refused: ${await response.text()}`);
    }
  }

  #output(name: string): string {
    const value = this.#outputs[name];
    if (value === undefined) {
      throw new Error(`the stack has no output ${name}`);
    }
    return value;
  }

  #agentYaml(agent: string): AgentYaml {
    const name = Object.keys(this.#outputs).find((key) => key.startsWith(`Yaml${agent}`));
    return parse(this.#output(name ?? `Yaml${agent}`)) as AgentYaml;
  }
}

async function cdk(ministack: MiniStack, args: readonly string[]): Promise<void> {
  const { endpoint, accessKey, secretKey } = ministack;
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
      },
    });
  } catch (error) {
    const { stderr = '', stdout = '' } = error as { stderr?: string; stdout?: string };
    throw new Error(`cdk ${args[0]} failed:\n${stdout.slice(-3000)}\n${stderr.slice(-3000)}`, {
      cause: error,
    });
  }
}
