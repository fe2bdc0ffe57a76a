import { createHash } from 'node:crypto';
import { agentYaml } from './agent-yaml.ts';
import type { SyncConfig } from './config.ts';

/** What a deployed stack says about itself, by the names of its outputs. */
type StackOutputs = Readonly<Record<string, string>>;

/**
 * Name of the output with the policy or role of an agent. One output per agent: a stack has room for 200.
 * Logical ids have no "-"; names that differ only by it get different ones.
 */
export function accessOutputName(kind: 'Policy' | 'Role', agent: string): string {
  const plain = agent.replaceAll('-', '');
  const hash = createHash('sha256').update(agent).digest('hex').slice(0, 8);
  return `${kind}${plain}${plain === agent ? '' : hash}`;
}

/**
 * The configuration file of an agent, from what was configured and what was deployed. An agent that is not in
 * `agents` makes its queue itself; where `agents` are named, one that is not among them is a mistake.
 */
export function agentConfig(
  agent: string,
  { config, outputs }: { readonly config: SyncConfig; readonly outputs: StackOutputs },
): string {
  const isKnown = config.agents.includes(agent);
  if (!isKnown && config.agents.length > 0) {
    throw new Error(`the stack has no agent ${agent}; it has ${config.agents.join(', ')}`);
  }
  const kind = config.agentRoles ? 'Role' : 'Policy';
  const output = (name: string): string => {
    const value = outputs[name];
    if (value === undefined) {
      throw new Error(`the outputs have no ${name}: deploy with --outputs-file outputs.json`);
    }
    return value;
  };
  return agentYaml({
    instance: agent,
    access: isKnown ? output(accessOutputName(kind, agent)) : undefined,
    databases: config.databases,
    bucketName: output('BucketName'),
    region: output('Region'),
    objectPrefix: config.objectPrefix,
    queuePrefix: output('QueuePrefix'),
    createQueue: !isKnown,
    directQueueUrl: config.directNotices ? output('IngestQueueUrl') : undefined,
  });
}
