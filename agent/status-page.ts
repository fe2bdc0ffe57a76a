/**
 * The status page: fixed HTML that fetches `/status.json` and shows it anew every two seconds.
 *
 * Names of instances and DBIs come from others, so nothing from the data is ever put into HTML: the script only
 * makes elements and sets their text.
 */
export function statusPage(): string {
  return PAGE;
}

const STYLE = `
:root { color-scheme: light dark; --line: #8884; --bad: #c62828; --good: #2e7d32; }
body { font: 15px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 1.6rem 0 .4rem; }
nav a { margin-right: 1rem; } .note { opacity: .75; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; margin: .4rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .6rem .25rem 0; text-align: left; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.bad { color: var(--bad); font-weight: 600; white-space: normal; } .good { color: var(--good); }
`;

// Runs in a browser: plain JavaScript without a build step.
const SCRIPT = `
'use strict';
const units = ['B', 'KB', 'MB', 'GB', 'TB'];
function size(bytes) {
  if (bytes === null) return '-';
  let power = 0;
  while (bytes > 1024 && power < units.length - 1) { bytes /= 1024; power++; }
  return (power === 0 ? bytes : bytes.toFixed(1)) + ' ' + units[power];
}
function age(seconds) {
  if (seconds < 0) return 'in the future';
  if (seconds < 100) return Math.round(seconds) + ' s';
  if (seconds < 6000) return Math.round(seconds / 60) + ' min';
  if (seconds < 172800) return Math.round(seconds / 3600) + ' h';
  return Math.round(seconds / 86400) + ' days';
}
function make(tag, text, className) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (className) element.className = className;
  return element;
}
function table(heads, rows) {
  const box = make('div', undefined, 'scroll'), grid = make('table'), top = make('tr');
  const kind = (index) => rows.length > 0 && typeof rows[0][index] === 'number' ? 'number' : '';
  heads.forEach((head, index) => top.append(make('th', head, kind(index))));
  grid.append(top);
  for (const cells of rows) {
    const row = make('tr');
    cells.forEach((cell, index) => row.append(cell instanceof Node ? cell : make('td', String(cell), kind(index))));
    grid.append(row);
  }
  box.append(grid);
  return box;
}
function database(db, now) {
  const part = make('section');
  part.append(make('h2', db.name), make('div', db.path, 'note'));
  if (!db.started) part.append(make('p', 'Initial sync is not finished.', 'note'));
  if (db.map_full) part.append(make('p', 'The LMDB map is full: enlarge the map size in the application.', 'bad'));
  else if (db.error) part.append(make('p', db.error, 'bad'));
  const facts = [
    ['Map size', size(db.map_size)],
    ['Used', size(db.used) + (db.map_size ? ' (' + (100 * db.used / db.map_size).toFixed(1) + ' %)' : '')],
    ['Last transaction', db.last_txn_id ?? '-'],
    ['Readers', (db.readers ?? '-') + ' / ' + (db.max_readers ?? '-')],
    ['Not yet sent', db.pending.keys + ' keys, ' + size(db.pending.bytes) + (db.pending.scan ? ', and more' : '')],
    ['Streams known', db.vector_size],
  ];
  const upload = db.last_upload, merge = db.last_merge;
  if (upload) facts.push(['Last upload', age((now - upload.atMs) / 1000) + ' ago: ' + upload.kind + ', ' + upload.entries + ' entries, ' + size(upload.sizeBytes) + ', ' + Math.round(upload.totalMs) + ' ms']);
  if (merge) facts.push(['Last merge', age((now - merge.atMs) / 1000) + ' ago: ' + merge.changed + ' of ' + merge.entries + ' entries changed, lock held ' + merge.lockHeldMs.toFixed(1) + ' ms']);
  if (db.regressions) facts.push(['Changes put back (slow clock)', db.regressions]);
  if (db.future_entries) facts.push(['Entries in the future', db.future_entries]);
  if (db.invalid_values) facts.push(['Values without header', db.invalid_values]);
  part.append(table([], facts));
  for (const bad of db.quarantined) part.append(make('p', 'Left out: ' + bad.name + ': ' + bad.error, 'bad'));
  for (const twin of db.shared_name) part.append(make('p', 'Another agent has this instance name: ' + twin, 'bad'));
  if (db.instances.length > 0) {
    part.append(table(['Instance', 'Newest object', 'Waiting'], db.instances.map((other) => [
      other.instance, age((now - other.newest) / 1000) + ' ago',
      other.lag_ms > 0 ? make('td', age(other.lag_ms / 1000), 'bad') : make('td', 'merged', 'good'),
    ])));
  }
  part.append(table(['DBI', 'Used', 'Entries', 'Depth', 'Branch', 'Leaf', 'Overflow', 'Flags'],
    db.dbis.map((d) => [d.name, size(d.used), d.entries, d.depth, d.branch_pages, d.leaf_pages, d.overflow_pages, d.flags])));
  return part;
}
function cost(estimate) {
  if (!estimate) return '';
  return '. At list prices (' + estimate.prices + ') about $' + estimate.dollars_per_month.toFixed(2) + ' a month; listing every '
    + estimate.poll_interval_ms / 1000 + ' s instead: $' + estimate.dollars_per_month_listing.toFixed(2);
}
async function refresh() {
  const state = document.getElementById('state');
  try {
    const answer = await fetch('status.json', { cache: 'no-store' });
    const status = await answer.json();
    document.getElementById('who').textContent = status.instance + ', version ' + status.version + ', up ' + age(status.uptime_seconds);
    const requests = Object.entries(status.requests).map(([kind, count]) => count + ' ' + kind).join(', ');
    state.textContent = 'Storage requests: ' + (requests || 'none') + cost(status.cost);
    state.className = 'note';
    const parts = status.databases.map((db) => database(db, status.time));
    document.getElementById('databases').replaceChildren(...parts);
  } catch (error) {
    state.textContent = 'No answer from the agent: ' + error;
    state.className = 'bad';
  }
  setTimeout(refresh, 2000);
}
refresh();
`;

const PAGE = `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>LightningStream</title>
<style>${STYLE}</style>
</head>
<body>
<h1>LightningStream</h1>
<div id="who"></div>
<nav><a href="healthz">healthz</a><a href="metrics">metrics</a><a href="storage">storage</a><a href="status.json">status.json</a></nav>
<p id="state" class="note">Loading. Without JavaScript, see status.json.</p>
<div id="databases"></div>
<script>${SCRIPT}</script>
</body>
</html>
`;
