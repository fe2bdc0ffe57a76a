import type { Command } from 'commander';
import { commandsMarkdown } from './command-markdown.ts';
import { configurationMarkdown } from '../../config/markdown.ts';
import type { CliDeps } from './context.ts';

/** `docs`: the reference of commands or of the configuration, as Markdown. The files in docs/ are this output. */
export function printDocs(
  deps: CliDeps,
  program: Command,
  topic: 'commands' | 'configuration',
): void {
  deps.stdout.write(topic === 'commands' ? commandsMarkdown(program) : configurationMarkdown());
}
