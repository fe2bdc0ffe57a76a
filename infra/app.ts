import { App, Aspects } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { fileURLToPath } from 'node:url';
import { parseSyncConfig } from './config.ts';
import { makeStacks } from './stacks.ts';

const app = new App();
const config = parseSyncConfig(app.node.tryGetContext('lightningstream'));
const repositoryRoot = fileURLToPath(new URL('..', import.meta.url));
makeStacks(app, { config, repositoryRoot });
Aspects.of(app).add(new AwsSolutionsChecks());
