import type { Values } from './fields.ts';
import type { CONFIG_FIELDS } from './table.ts';
import type { Problem } from './yaml-reader.ts';

type ConfigValues = Values<typeof CONFIG_FIELDS>;

/** What is wrong with the hooks after merges, each with the path to blame. */
export function* afterMergeProblems({
  afterMerge,
  lmdbs,
}: Pick<ConfigValues, 'afterMerge' | 'lmdbs'>): Generator<
  Omit<Problem, 'line'> & { readonly path: readonly string[] }
> {
  for (const [name, hook] of afterMerge) {
    const at = (key: string) => ['after_merge', name, key];
    const { command, powerdnsUrl, powerdnsApiKey, databases } = hook;
    const hasCommand = command.length > 0;
    if (hasCommand === (powerdnsUrl !== '')) {
      yield {
        path: ['after_merge', name],
        message: `\`after_merge.${name}\` must have either \`command\` or \`powerdns_url\``,
        hint: 'For both, write two hooks.',
      };
    }
    if (hasCommand && command[0] === '') {
      yield { path: at('command'), message: `\`after_merge.${name}.command\` names no program` };
    }
    // Without the text: it may hold a password.
    if (powerdnsUrl !== '' && !/^https?:\/\/[^/@?#]+(\/[^@?#]*)?$/.test(powerdnsUrl)) {
      yield {
        path: at('powerdns_url'),
        message: `\`after_merge.${name}.powerdns_url\` is no URL with http:// or https://`,
      };
    }
    if ((powerdnsUrl === '') !== (powerdnsApiKey === '')) {
      yield {
        path: ['after_merge', name],
        message: `\`after_merge.${name}\` must have both \`powerdns_url\` and \`powerdns_api_key\`, or neither`,
      };
    }
    if (!/^[\x20-\x7e]*$/.test(powerdnsApiKey)) {
      yield {
        path: at('powerdns_api_key'),
        message: `\`after_merge.${name}.powerdns_api_key\` has signs that no HTTP header can hold`,
      };
    }
    for (const database of databases) {
      if (!lmdbs.has(database)) {
        yield {
          path: at('databases'),
          message: `\`after_merge.${name}.databases\` names ${JSON.stringify(database)}, which is not under \`lmdbs\``,
        };
      }
    }
  }
}
