import type { Command } from 'commander';

/** Shells with a completion script. */
export const SHELLS = ['bash', 'zsh', 'fish', 'powershell'] as const;
export type Shell = (typeof SHELLS)[number];

/** What can follow one place in the tree, such as `/snapshots/list`. */
type Place = {
  readonly path: string;
  readonly words: readonly {
    readonly word: string;
    readonly help: string;
    readonly isCommand: boolean;
  }[];
};

/** A completion script for one shell, made from the command tree. */
export function completionScript(program: Command, shell: Shell): string {
  const places = placesOf(program, '', []);
  switch (shell) {
    case 'bash':
      return bashScript(places);
    case 'zsh':
      return zshScript(places);
    case 'fish':
      return fishScript(places);
    case 'powershell':
      return powershellScript(places);
    default:
      return shell satisfies never;
  }
}

function placesOf(command: Command, path: string, inherited: Place['words']): Place[] {
  const own = command.options
    .flatMap((option) =>
      [option.short, option.long].map((word) => ({ word, help: option.description })),
    )
    .flatMap(({ word, help }) =>
      word === undefined || word === null ? [] : [{ word, help, isCommand: false }],
    );
  const flags = [...own, ...inherited];
  const values = command.registeredArguments.flatMap((argument) =>
    (argument.argChoices ?? []).map((word) => ({ word, help: '', isCommand: false })),
  );
  const commands = command.commands.map((sub) => ({
    word: sub.name(),
    help: sub.description(),
    isCommand: true,
  }));
  const help = { word: '--help', help: 'print help', isCommand: false };
  return [
    { path, words: [...commands, ...values, ...flags, ...(path === '' ? [help] : [])] },
    ...command.commands.flatMap((sub) =>
      placesOf(sub, `${path}/${sub.name()}`, path === '' ? [...own, help] : inherited),
    ),
  ];
}

function bashScript(places: readonly Place[]): string {
  return `# bash completion for lightningstream: source <(lightningstream completion bash)
_lightningstream() {
  local place="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$place/\${COMP_WORDS[i]}" in
      ${paths(places).join('|')}) place="$place/\${COMP_WORDS[i]}" ;;
    esac
  done
  case "$place" in
${places.map(({ path, words }) => `    "${path}") words="${words.map(({ word }) => word).join(' ')}" ;;`).join('\n')}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _lightningstream lightningstream
`;
}

function zshScript(places: readonly Place[]): string {
  return `#compdef lightningstream
# zsh completion for lightningstream: source <(lightningstream completion zsh)
_lightningstream() {
  local place="" i
  local -a candidates
  for ((i = 2; i < CURRENT; i++)); do
    case "$place/\${words[i]}" in
      ${paths(places).join('|')}) place="$place/\${words[i]}" ;;
    esac
  done
  case "$place" in
${places.map(({ path, words }) => `    "${path}") candidates=(${words.map(({ word }) => word).join(' ')}) ;;`).join('\n')}
  esac
  compadd -- $candidates
  _files
}
compdef _lightningstream lightningstream
`;
}

function fishScript(places: readonly Place[]): string {
  const lines = ['# fish completion for lightningstream: lightningstream completion fish | source'];
  for (const { path, words } of places) {
    const condition = fishCondition(path, words);
    for (const { word, help } of words) {
      lines.push(
        `complete -c lightningstream -n '${condition}' ${fishWord(word)} -d '${help.replaceAll("'", String.raw`\'`)}'`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

function fishCondition(path: string, words: Place['words']): string {
  if (path === '') {
    return '__fish_use_subcommand';
  }
  const seen = path
    .slice(1)
    .split('/')
    .map((name) => `__fish_seen_subcommand_from ${name}`);
  const below = words.filter(({ isCommand }) => isCommand).map(({ word }) => word);
  const not = below.length === 0 ? [] : [`not __fish_seen_subcommand_from ${below.join(' ')}`];
  return [...seen, ...not].join('; and ');
}

function fishWord(word: string): string {
  if (word.startsWith('--')) {
    return `-l ${word.slice(2)}`;
  }
  return word.startsWith('-') ? `-s ${word.slice(1)}` : `-a ${word}`;
}

function powershellScript(places: readonly Place[]): string {
  const list = (words: readonly string[]) => words.map((word) => `'${word}'`).join(', ');
  return `# PowerShell completion for lightningstream: lightningstream completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName lightningstream -ScriptBlock {
  param($wordToComplete, $commandAst, $cursorPosition)
  $places = @{
${places.map(({ path, words }) => `    '${path}' = @(${list(words.map(({ word }) => word))})`).join('\n')}
  }
  $place = ''
  foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {
    $next = "$place/$element"
    if ($places.ContainsKey($next)) { $place = $next }
  }
  $places[$place] | Where-Object { $_ -like "$wordToComplete*" } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}
`;
}

function paths(places: readonly Place[]): string[] {
  return places.map(({ path }) => path).filter((path) => path !== '');
}
