import type { Command } from 'commander';

const INTRODUCTION = `# Command line

Long flags take their value after a space or a \`=\`. The flags of \`lightningstream\` itself work before and after the
command. \`--help\` and \`--version\` need no configuration file; the commands that work on databases or on the
storage read it first.

Output goes to standard output, logs and errors to standard error. An error is printed as \`Error: …\`, with a line
\`Try: …\` where there is something to try.

| exit code | when |
|---|---|
| 0 | done; \`sync\` and \`receive\`: stopped by SIGTERM or SIGINT after a clean end; \`stats\` and \`dump\` also where one of the databases could not be read (the log says so) |
| 1 | anything wrong: configuration, command, flags, storage, LMDB |
| 75 | \`--timeout\` passed |
| 128 + n | killed by signal n; a second SIGTERM or SIGINT ends at once |

\`sync\` and \`receive\` serve the status page at \`http.address\`: \`/\`, \`/status.json\`, \`/healthz\`, \`/livez\`, \`/readyz\`, \`/metrics\`, \`/storage\`.

\`dump\` and \`snapshots dump\` print one entry per line, \`key  =  value\`. Bytes are shown as printable ASCII, others as \`.\`;
the hex dump follows in brackets if a byte is not printable, if there are at most 8 bytes, or if they begin with a time
between 2022 and 30 days from now, as the value header of the native schema does; that time follows in parentheses. Both work in one pass:
their memory does not grow with the data. \`dump\` shows one moment: a read transaction is open meanwhile.

With \`--json\` a listing command prints one JSON object per line; bytes are in hexadecimal, 64-bit numbers and times in
nanoseconds are text. In \`dump\` the value is whole, with its header; \`snapshots dump\` prints the head of the object, then each DBI
with its entries.

What takes longer than half a second shows a progress bar on standard error, if that is a terminal (\`dump\` and \`snapshots dump\`
only where the output goes elsewhere): \`dump\`, \`snapshots dump\`, \`get\` and \`put\`, \`compact\`.

\`drop-shadow\` and the \`experimental\` commands change an LMDB in one write transaction: all of it is done, or nothing. They
refuse to run beside an agent of ours on the same file. After \`drop-shadow\` the next agent begins as on an LMDB that it has never
seen: it fetches and sends everything again.

The \`snapshots\` commands give up after 1 minute unless \`--timeout\` is given.

This page is the output of \`lightningstream docs commands\`.
`;

/** All commands, their arguments and flags as Markdown. */
export function commandsMarkdown(program: Command): string {
  return [INTRODUCTION, ...commandSections(program, [])].join('\n');
}

function commandSections(command: Command, parents: readonly string[]): string[] {
  const names = [...parents, command.name()];
  const args = command.registeredArguments.map((argument) =>
    argument.required ? `<${argument.name()}>` : `[${argument.name()}]`,
  );
  const lines = [`## ${[...names, ...args].join(' ')}`, '', command.description(), ''];
  for (const argument of command.registeredArguments) {
    const choices = argument.argChoices?.map((choice) => `\`${choice}\``).join(', ');
    lines.push(
      `- \`${argument.name()}\`: ${argument.description}${choices ? ` (${choices})` : ''}`,
    );
  }
  if (command.registeredArguments.length > 0) {
    lines.push('');
  }
  const options = command.options.filter((option) => !option.hidden);
  if (options.length > 0) {
    lines.push('| flag | default | meaning |', '|---|---|---|');
    for (const option of options) {
      const fallback = option.defaultValueDescription ?? textOf(option.defaultValue);
      lines.push(
        `| \`${option.flags.replaceAll('|', String.raw`\|`)}\` | ${fallback} | ${option.description} |`,
      );
    }
    lines.push('');
  }
  return [...lines, ...command.commands.flatMap((sub) => commandSections(sub, names))];
}

function textOf(value: unknown): string {
  return typeof value === 'string' && value !== '' ? `\`${value}\`` : '';
}
