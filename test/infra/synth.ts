import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { resolve } from 'node:path';
import { parseSyncConfig } from '../../infra/config.ts';
import { makeStacks, type Stacks } from '../../infra/stacks.ts';

/** Folder of the repository. */
export const ROOT = resolve(__dirname, '../..');
/** The configuration of the stacks of these tests, where nothing else is said. */
export const BASE = { stage: 'test', agents: ['a1', 'b-2'], databases: ['main', 'shard'] };

/** One resource of a template. */
export type Resource = {
  readonly Type: string;
  readonly Properties: Readonly<Record<string, unknown>>;
};

/**
 * The stacks with a configuration: without bundling, and without the CDK's own check of each template, which takes most
 * of the time. `cdk synth` has both; here the templates are what is looked at.
 */
export function stacksOf(context: object = {}): Stacks {
  const app = new App({
    context: { 'aws:cdk:bundling-stacks': [] },
    builtinCloudFormationValidation: false,
  });
  const config = parseSyncConfig({ ...BASE, ...context });
  return makeStacks(app, { config, repositoryRoot: ROOT });
}

/** The template of what works. */
export function templateOf(context: object = {}): Template {
  return Template.fromStack(stacksOf(context).sync);
}

/** The resources of one type, with their logical ids. */
export function resourcesOf(template: Template, type: string): [string, Resource][] {
  return Object.entries(template.findResources(type)) as [string, Resource][];
}
