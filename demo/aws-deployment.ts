import { parse } from 'yaml';
import { agentConfig } from '../infra/agent-outputs.ts';
import { parseSyncConfig, type SyncConfig } from '../infra/config.ts';
import { openS3Store, type S3ObjectStore } from '../storage/s3/store.ts';
import { deployStack, REGION, requireOutput, type StackOutputs } from './cdk.ts';
import type { MiniStack } from './ministack.ts';
import type { Surroundings } from './scenario.ts';

const STAGE = 'demo';
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
  readonly #outputs: StackOutputs;
  readonly #config: SyncConfig;

  private constructor(ministack: MiniStack, parts: { config: SyncConfig; outputs: StackOutputs }) {
    this.#ministack = ministack;
    this.#outputs = parts.outputs;
    this.#config = parts.config;
  }

  /** Bootstraps the account and deploys for these agents, with the ordinary CDK command. */
  static async deploy(
    ministack: MiniStack,
    options: { readonly agents: readonly string[]; readonly folder: string },
  ): Promise<AwsDeployment> {
    const { agents, folder } = options;
    // No schedule comes in between: the demo sends the job. What is covered may go at once.
    const config = parseSyncConfig({
      stage: STAGE,
      agents,
      mustKeepMinutes: 0,
      compactionMinutes: 60,
    });
    const outputs = await deployStack(ministack, { config, folder });
    return new AwsDeployment(ministack, { config, outputs });
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
    return requireOutput(this.#outputs, name);
  }

  #agentYaml(agent: string): AgentYaml {
    return parse(agentConfig(agent, { config: this.#config, outputs: this.#outputs })) as AgentYaml;
  }
}
