import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { S3Client } from '@aws-sdk/client-s3';
import { SNSClient } from '@aws-sdk/client-sns';
import { SQSClient } from '@aws-sdk/client-sqs';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import {
  deployStack,
  readStackOutputs,
  REGION,
  requireOutput,
  type StackOutputs,
} from '../../../demo/cdk.ts';
import { accessOutputName, agentConfig } from '../../../infra/agent-outputs.ts';
import { parseSyncConfig, type SyncConfig } from '../../../infra/config.ts';
import { openS3Store, type S3ObjectStore } from '../../../storage/s3/store.ts';
import type { MiniStack } from './ministack.ts';

export type Keys = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
};

/** A stack on an emulator, and clients for it. */
export class AwsStack {
  readonly outputs: StackOutputs;
  readonly #config: SyncConfig;
  readonly #ministack: MiniStack;
  readonly #agent: Agent;

  private constructor(
    ministack: MiniStack,
    parts: { readonly config: object; readonly outputs: StackOutputs },
  ) {
    this.#ministack = ministack;
    this.#config = parseSyncConfig(parts.config);
    this.outputs = parts.outputs;
    const { caFile } = ministack;
    this.#agent = new Agent(caFile === undefined ? {} : { ca: readFileSync(caFile) });
  }

  /** Bootstraps the account and deploys the project's own app, with the ordinary CDK command. */
  static async deploy(ministack: MiniStack, config: object): Promise<AwsStack> {
    const folder = await mkdtemp(join(tmpdir(), 'cdk-'));
    try {
      const outputs = await deployStack(ministack, { config, folder });
      return new AwsStack(ministack, { config, outputs });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  /** A stack that is deployed, by its folder with cdk.json and the outputs that `cdk deploy` wrote. */
  static async inFolder(ministack: MiniStack, folder: string): Promise<AwsStack> {
    const cdk = JSON.parse(readFileSync(join(folder, 'cdk.json'), 'utf8')) as {
      readonly context: { readonly lightningstream: object };
    };
    const outputs = await readStackOutputs(join(folder, 'outputs.json'));
    return new AwsStack(ministack, { config: cdk.context.lightningstream, outputs });
  }

  /** An output that must be there. */
  output(name: string): string {
    return requireOutput(this.outputs, name);
  }

  /** The configuration file of one agent. */
  agentYaml(agent: string): string {
    return agentConfig(agent, { config: this.#config, outputs: this.outputs });
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

  sns(keys: Keys = this.rootKeys): SNSClient {
    return new SNSClient(this.#client(keys));
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
        RoleArn: this.output(accessOutputName('Role', agent)),
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
