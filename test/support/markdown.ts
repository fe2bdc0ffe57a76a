/** The text under a heading of level 2, up to the next one. Throws where there is none of that name. */
export function section(markdown: string, heading: string): string {
  const start = markdown.indexOf(`\n## ${heading}\n`);
  if (start < 0) {
    throw new Error(`no section ${heading}`);
  }
  const end = markdown.indexOf('\n## ', start + 1);
  return markdown.slice(start, end < 0 ? undefined : end);
}

/** The commands in all `sh` blocks, one per line, without what a comment says behind them. */
export function commandsOf(markdown: string): string[] {
  return blocks(markdown, 'sh').flatMap((block) =>
    block
      .split('\n')
      .map((line) => line.replace(/\s+# .*$/, '').trim())
      .filter((line) => line !== ''),
  );
}

/** The first block of this language. */
export function blockOf(markdown: string, language: string): string {
  const [block] = blocks(markdown, language);
  if (block === undefined) {
    throw new Error(`no block of ${language}`);
  }
  return block;
}

function blocks(markdown: string, language: string): string[] {
  const pattern = new RegExp(`^\`\`\`${language}\\n([^]*?)^\`\`\``, 'gm');
  return [...markdown.matchAll(pattern)].map(([, block = '']) => block);
}
