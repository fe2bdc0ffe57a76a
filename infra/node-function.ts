import { type Duration, RemovalPolicy, type Size } from 'aws-cdk-lib';
import { Architecture, Runtime } from 'aws-cdk-lib/aws-lambda';
import { NodejsFunction, OutputFormat } from 'aws-cdk-lib/aws-lambda-nodejs';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { NagSuppressions } from 'cdk-nag';
import { Construct } from 'constructs';
import { join } from 'node:path';

export interface NodeFunctionProps {
  /** Folder of the repository. */
  readonly repositoryRoot: string;
  /** The handler's file, relative to it. */
  readonly entry: string;
  readonly description: string;
  readonly timeout: Duration;
  readonly memoryMib: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly logRetention: RetentionDays;
  /**
   * Size of /tmp.
   * @default 512 MiB
   */
  readonly ephemeralStorage?: Size | undefined;
}

/** A Lambda from TypeScript: one bundle with the SDK inside, arm64, its own log group. No custom resource. */
export class NodeFunction extends Construct {
  readonly function: NodejsFunction;
  readonly timeout: Duration;

  constructor(scope: Construct, id: string, props: NodeFunctionProps) {
    super(scope, id);
    const { repositoryRoot, entry, description, timeout, memoryMib, environment } = props;
    this.timeout = timeout;
    const logGroup = new LogGroup(this, 'Logs', {
      retention: props.logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    this.function = new NodejsFunction(this, 'Function', {
      entry: join(repositoryRoot, entry),
      projectRoot: repositoryRoot,
      depsLockFilePath: join(repositoryRoot, 'package-lock.json'),
      handler: 'handler',
      description,
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      timeout,
      memorySize: memoryMib,
      environment: { ...environment },
      logGroup,
      ...(props.ephemeralStorage === undefined
        ? {}
        : { ephemeralStorageSize: props.ephemeralStorage }),
      bundling: {
        // The SDK goes in: what runs is what was tested, and a cold start reads one file.
        externalModules: [],
        format: OutputFormat.CJS,
        target: 'node22',
        minify: true,
        keepNames: true,
      },
    });
    NagSuppressions.addResourceSuppressions(
      this.function,
      [
        {
          id: 'AwsSolutions-IAM4',
          reason: 'AWSLambdaBasicExecutionRole allows writing logs and nothing else.',
        },
      ],
      true,
    );
  }
}
