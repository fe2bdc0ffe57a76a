// Prints the configuration file of one agent: `npm run --silent agent-config -- NAME`, in the folder with cdk.json and with
// the outputs.json that `cdk deploy --outputs-file outputs.json` wrote there.
import { readFile } from 'node:fs/promises';
import { agentConfig } from './agent-outputs.ts';
import { parseSyncConfig } from './config.ts';

async function main([agent, outputsFile = 'outputs.json']: readonly string[]): Promise<void> {
  if (agent === undefined) {
    throw new Error('which agent? npm run --silent agent-config -- NAME');
  }
  const cdk = (await readJson('cdk.json')) as { context?: Record<string, unknown> };
  const config = parseSyncConfig(cdk.context?.['lightningstream']);
  const stacks = (await readJson(outputsFile)) as Record<string, Record<string, string>>;
  const outputs = Object.assign({}, ...Object.values(stacks)) as Record<string, string>;
  process.stdout.write(agentConfig(agent, { config, outputs }));
}

async function readJson(file: string): Promise<unknown> {
  return JSON.parse(await readFile(file, 'utf8'));
}

main(process.argv.slice(2)).catch((error: unknown) => {
  process.stderr.write(`Error: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
});
