import { App, Aspects } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { fileURLToPath } from 'node:url';
import { parseSyncConfig } from './config.ts';
import { SyncStack } from './sync-stack.ts';

const app = new App();
const config = parseSyncConfig(app.node.tryGetContext('lightningstream'));
const repositoryRoot = fileURLToPath(new URL('..', import.meta.url));
// No account and no region: the template fits any, and synth asks nobody.
const stack = new SyncStack(app, `LightningStream-${config.stage}`, { config, repositoryRoot });
Aspects.of(stack).add(new AwsSolutionsChecks());
