import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const ROOT = join(__dirname, '..');
const PAGES = [
  'README.md',
  'AGENTS.md',
  'CHANGELOG.md',
  'CONTRIBUTING.md',
  'SECURITY.md',
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

const read = (page: string) => readFileSync(join(ROOT, page), 'utf8');

/** The anchors that a page's headings get on the usual forges. */
function anchors(page: string): Set<string> {
  const headings = read(page).matchAll(/^#+ (.+)$/gm);
  return new Set(
    Array.from(headings, ([, text = '']) =>
      text
        .toLowerCase()
        .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}

/** What is wrong with a link of a page; undefined: nothing. A title names a test of the file that the link leads to. */
function fault(page: string, target: string, title: string | undefined): string | undefined {
  if (/^https?:/.test(target)) {
    return undefined;
  }
  const [path = '', anchor] = target.split('#');
  const file = path === '' ? page : relative(ROOT, join(ROOT, dirname(page), path));
  if (!existsSync(join(ROOT, file))) {
    return `${target}: no such file`;
  }
  if (anchor !== undefined && !anchors(file).has(anchor)) {
    return `${target}: no such heading`;
  }
  if (title !== undefined && !read(file).includes(title)) {
    return `${target}: no test "${title}"`;
  }
  return undefined;
}

test.each(PAGES)('links of %s lead somewhere, and tests that they name exist', (page) => {
  const links = read(page).matchAll(/\]\(([^)\s]+)(?: "([^"]*)")?\)/g);
  const faults = Array.from(links, ([, target = '', title]) => fault(page, target, title));
  expect(faults.filter((text) => text !== undefined)).toEqual([]);
});

test('the pages that promise something name the tests that hold it', () => {
  const named = (page: string) => read(page).match(/\]\(\.\.\/test\/[^)\s]+ "/g)?.length ?? 0;
  expect(named('docs/compatibility.md')).toBeGreaterThan(250);
  expect(named('docs/reliability.md')).toBeGreaterThan(40);
});
