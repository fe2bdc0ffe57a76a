import type { Command } from 'commander';

const INTRODUCTION = `# Command line

Long flags take their value after a space or a \`=\`. The flags of \`lightningstream\` itself work before and after the
command. \`--help\` and \`--version\` need no configuration file; the commands that work on databases or on the
storage read it first.

Output goes to standard output, logs and errors to standard error. An error is printed as \`Error: …\`, with a line
\`Try: …\` where there is something to try.

| exit code | when |
|---|---|
| 0 | done; \`sync\` and \`receive\`: stopped by SIGTERM or SIGINT after a clean end |
| 1 | anything wrong: configuration, command, flags, storage, LMDB; \`stats\` and \`dump\` show the other databases first |
| 75 | \`--timeout\` passed; the error names what failed last, or what it still waits for |
| 128 + n | ended by signal n: a command that had more to do, a second SIGTERM or SIGINT, or a stop while another program holds the write lock of an LMDB |

| signal | \`sync\` and \`receive\` | other commands |
|---|---|---|
| TERM, INT | sends the last changes within \`shutdown_timeout\`, then ends; the second one ends at once | ends |
| HUP | reads the configuration again; on a terminal, which is closed then, as TERM | ends |
| USR1, USR2 | logs a line about the process and one about each database | nothing |

SIGHUP takes over \`log.*\`, and the keys of the storage (\`access_key\`, \`secret_key\`, \`account_key\` and their files) where keys
were configured at the start. Key files are read at the next request. Any other change is named in the log and on \`/healthz\`
until the restart that it needs. A file with an error changes nothing. Environment variables stay those of the start.

A stop does not wait for the write lock of an LMDB beyond \`shutdown_timeout\`: it says so in the log, and the process ends by
SIGTERM. The next start sends what is left.

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
