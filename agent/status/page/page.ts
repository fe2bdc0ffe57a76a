import { createHash } from 'node:crypto';
import type { StatusView, Verdict } from './view.ts';
import { SCRIPT } from './script.ts';
import { STYLE } from './style.ts';
import { escapeHtml, toHtml } from './node.ts';

const hash = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/**
 * What the browser may do with the page: run this one script, use this one style, ask this one server. The icon is
 * part of the page.
 */
export const PAGE_POLICY = [
  "default-src 'none'",
  `script-src ${hash(SCRIPT)}`,
  `style-src ${hash(STYLE)}`,
  "connect-src 'self'",
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

/** Changes with the page's own code: a page that is open reloads when it meets another. */
const PAGE_ID = createHash('sha256')
  .update(SCRIPT + STYLE)
  .digest('hex')
  .slice(0, 12);

/** What the page's script asks for, as JSON. */
export function viewJson(view: StatusView): string {
  return `${JSON.stringify({ page: PAGE_ID, ...view })}\n`;
}

/**
 * The whole page, complete without JavaScript (it then loads anew by itself). Names of instances and DBIs come from
 * others: they are escaped here, and the script makes text nodes of them.
 */
export function statusPage(view: StatusView): string {
  return `<!DOCTYPE html>
<html lang="en" data-page="${PAGE_ID}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<noscript><meta http-equiv="refresh" content="5"></noscript>
<title>${escapeHtml(view.title)}</title>
<link rel="icon" href="${icon(view.verdict)}">
<style>${STYLE}</style>
</head>
<body>
<p id="gone" role="alert" hidden></p>
<main id="status">${toHtml(view.nodes)}</main>
<script>${SCRIPT}</script>
</body>
</html>
`;
}

/** A dot in the verdict's colour: seen among twenty tabs. The script changes it. */
function icon(verdict: Verdict): string {
  const colours = { ok: '2e7d32', starting: '1565c0', warning: 'e08a00', error: 'c62828' };
  return `data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 9 9'%3E%3Ccircle cx='4.5' cy='4.5' r='4' fill='%23${colours[verdict]}'/%3E%3C/svg%3E`;
}
