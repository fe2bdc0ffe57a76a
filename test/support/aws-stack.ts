import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { S3Client } from '@aws-sdk/client-s3';
import { SQSClient } from '@aws-sdk/client-sqs';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { openS3Store, type S3ObjectStore } from '../../protocol/storage/s3.ts';
import type { MiniStack } from './ministack.ts';

const ROOT = resolve(__dirname, '../..');
const REGION = 'us-east-1';
/** Beyond this something hangs: both calls take about ten seconds. */
const CDK_TIMEOUT_MS = 150_000;

export type Keys = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
};

/** What the deployed stack says about itself. */
export type StackOutputs = Readonly<Record<string, string>>;

/** A stack on an emulator, and clients for it. */
export class AwsStack {
  readonly outputs: StackOutputs;
  readonly #ministack: MiniStack;
  readonly #agent: Agent;

  private constructor(ministack: MiniStack, outputs: StackOutputs) {
    this.#ministack = ministack;
    this.outputs = outputs;
    const { caFile } = ministack;
    this.#agent = new Agent(caFile === undefined ? {} : { ca: readFileSync(caFile) });
  }

  /** Bootstraps the account and deploys the project's own app, with the ordinary CDK command. */
  static async deploy(ministack: MiniStack, config: object): Promise<AwsStack> {
    const folder = await mkdtemp(join(tmpdir(), 'cdk-'));
    const outputsFile = join(folder, 'outputs.json');
    const common = [
      '--no-notices',
      '--output',
      join(folder, 'cdk.out'),
      '--context',
      `lightningstream=${JSON.stringify(config)}`,
    ];
    try {
      await cdk(ministack, ['bootstrap', `aws://${ministack.accountId}/${REGION}`, ...common]);
      await cdk(ministack, [
        'deploy',
        '--require-approval',
        'never',
        '--outputs-file',
        outputsFile,
        ...common,
      ]);
      return await AwsStack.fromOutputs(ministack, outputsFile);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** A stack that is deployed, by the file that `cdk deploy --outputs-file` wrote. */
  static async fromOutputs(ministack: MiniStack, outputsFile: string): Promise<AwsStack> {
    const all = JSON.parse(await readFile(outputsFile, 'utf8')) as Record<string, StackOutputs>;
    return new AwsStack(ministack, Object.values(all)[0] ?? {});
  }

  /** An output that must be there. */
  output(name: string): string {
    const value = this.outputs[name];
    if (value === undefined) throw new Error(`the stack has no output ${name}`);
    return value;
  }

  /** The output of one agent: Policy, Role or Yaml. */
  agentOutput(kind: 'Policy' | 'Role' | 'Yaml', agent: string): string {
    const start = `${kind}${agent.replaceAll('-', '')}`;
    const name = Object.keys(this.outputs).find((key) => key.startsWith(start));
    return this.output(name ?? start);
  }

  queueUrl(agent: string): string {
    const { endpoint, accountId } = this.#ministack;
    return `${endpoint}/${accountId}/${this.output('QueuePrefix')}${agent}`;
  }

  /** The account's own keys, which may do everything. */
  get rootKeys(): Keys {
    const { accessKey, secretKey } = this.#ministack;
    return { accessKeyId: accessKey, secretAccessKey: secretKey };
  }

  sqs(keys: Keys = this.rootKeys): SQSClient {
    return new SQSClient(this.#client(keys));
  }

  s3(keys: Keys = this.rootKeys): S3Client {
    return new S3Client({ ...this.#client(keys), forcePathStyle: true });
  }

  store(keys: Keys = this.rootKeys): Promise<S3ObjectStore> {
    return openS3Store({
      bucket: this.output('BucketName'),
      region: REGION,
      endpointUrl: this.#ministack.endpoint,
      accessKey: keys.accessKeyId,
      secretKey: keys.secretAccessKey,
      tls: { caFile: this.#ministack.caFile },
    });
  }

  /** Runs a Lambda and waits for its end. */
  async invoke(functionName: string): Promise<void> {
    const lambda = new LambdaClient(this.#client(this.rootKeys));
    const { FunctionError, Payload } = await lambda.send(
      new InvokeCommand({ FunctionName: functionName }),
    );
    lambda.destroy();
    if (FunctionError !== undefined) {
      throw new Error(`${functionName}: ${Buffer.from(Payload ?? []).toString()}`);
    }
  }

  /** Keys of an agent's role: exactly its policy's rights. */
  async assume(agent: string): Promise<Keys> {
    const sts = new STSClient(this.#client(this.rootKeys));
    const { Credentials } = await sts.send(
      new AssumeRoleCommand({
        RoleArn: this.agentOutput('Role', agent),
        RoleSessionName: agent,
      }),
    );
    sts.destroy();
    return {
      accessKeyId: Credentials?.AccessKeyId ?? '',
      secretAccessKey: Credentials?.SecretAccessKey ?? '',
      sessionToken: Credentials?.SessionToken,
    };
  }

  close(): void {
    this.#agent.destroy();
  }

  #client({ accessKeyId, secretAccessKey, sessionToken }: Keys) {
    return {
      region: REGION,
      endpoint: this.#ministack.endpoint,
      credentials: {
        accessKeyId,
        secretAccessKey,
        ...(sessionToken === undefined ? {} : { sessionToken }),
      },
      maxAttempts: 1,
      requestHandler: new NodeHttpHandler({ httpsAgent: this.#agent }),
    };
  }
}

async function cdk(ministack: MiniStack, args: readonly string[]): Promise<void> {
  const { caFile, endpoint, accessKey, secretKey } = ministack;
  const program = join(ROOT, 'node_modules/aws-cdk/bin/cdk');
  try {
    await promisify(execFile)(process.execPath, [program, ...args], {
      cwd: ROOT,
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
