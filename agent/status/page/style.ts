/** The status page's style: one column, wide tables scroll in their boxes, light or dark as the system is. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --back: #f4f5f7; --card: #fff; --line: #e1e4e8; --text: #1c2128; --quiet: #57606a; --link: #0b57a4;
  --ok: #1b6e2f; --ok-back: #e5f5e8; --warning: #8a5200; --warning-back: #fff3d6;
  --error: #b3201b; --error-back: #fde8e7; --starting: #0b57a4; --starting-back: #e3effb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0f1318; --card: #181d24; --line: #2c343e; --text: #e4e8ec; --quiet: #9aa5b1; --link: #7db8f5;
    --ok: #6fd08a; --ok-back: #12301b; --warning: #f3bd5b; --warning-back: #3a2a08;
    --error: #ff938c; --error-back: #451614; --starting: #7db8f5; --starting-back: #11293f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif;
}
main, #gone { max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3, p, dl, dd, ul { margin: 0; padding: 0; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; overflow-wrap: anywhere; }
h3 { font-size: .8rem; margin: 1.1rem 0 .2rem; color: var(--quiet); text-transform: uppercase; letter-spacing: .05em; }
a { color: var(--link); }
code { font: .85em ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; opacity: .85; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; justify-content: space-between; align-items: end; }
header > div { min-width: 0; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; }
footer { margin-top: 1rem; color: var(--quiet); font-size: .85rem; }
.quiet { color: var(--quiet); } .wrap { overflow-wrap: anywhere; white-space: normal; }
.card, .verdict { margin-top: 1rem; padding: .9rem 1rem 1rem; border-radius: .6rem; }
.card { background: var(--card); border: 1px solid var(--line); }
.verdict { border-left: .5rem solid; overflow-wrap: anywhere; }
.verdict h2 { font-size: 1.6rem; line-height: 1.3; }
.verdict > p { color: var(--text); }
.ok { color: var(--ok); background: var(--ok-back); }
.warning { color: var(--warning); background: var(--warning-back); }
.error, #gone { color: var(--error); background: var(--error-back); }
.starting { color: var(--starting); background: var(--starting-back); }
.problems { list-style: none; margin-top: .5rem; }
.problems li { padding: .5rem 0; border-top: 1px solid; border-color: color-mix(in srgb, currentColor 30%, transparent); background: none; }
.problems strong { text-transform: uppercase; font-size: .75rem; letter-spacing: .06em; margin-right: .3rem; }
summary { cursor: pointer; } summary h2 { display: inline; margin-right: .4rem; }
.chip { display: inline-block; padding: 0 .6rem; border-radius: 1rem; font-size: .85rem; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.2rem, 1fr)); gap: .6rem; margin-top: .7rem; }
.tiles > div { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .7rem; min-width: 0; overflow-wrap: anywhere; }
.tiles > .odd { border-color: var(--warning); color: var(--warning); }
dt { color: var(--quiet); font-size: .85rem; } .figure { font-size: 1.2rem; font-weight: 600; line-height: 1.4; }
dd.quiet { font-size: .85rem; } meter { width: 100%; height: .7rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin-top: .3rem; }
th { color: var(--quiet); font-weight: 500; font-size: .85rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .9rem .3rem 0; text-align: left; white-space: nowrap; vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.wrap { min-width: 14rem; } td.name { white-space: normal; overflow-wrap: anywhere; min-width: 8rem; }
td.number + td:not(.number), th.number + th:not(.number) { padding-left: .6rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.good { color: var(--ok); } .late { color: var(--warning); font-weight: 600; } .bad { color: var(--error); font-weight: 600; }
#gone { font-weight: 600; overflow-wrap: anywhere; position: sticky; top: 0; z-index: 1; }
.stale main { opacity: .5; }
`;
