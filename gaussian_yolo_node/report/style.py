"""The style of the report: for screens, phones and paper, in light and dark mode."""

from __future__ import annotations

# Series colours are Okabe and Ito's, which colour-blind readers can tell apart, darkened where a line would be too
# faint on white. The plots use them as CSS variables, so that one drawing suits both backgrounds.
SERIES = ("series-0", "series-1", "series-2", "series-3", "series-4", "series-5", "series-6")

CSS = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --ink: #1c2126; --soft: #56606b; --line: #d5dae0; --panel: #f5f7f9; --link: #0b5cad;
  --good: #00704f; --bad: #b3261e;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #b4558f; --series-4: #a87c00;
  --series-5: #2f9bd0; --series-6: #6b6f76;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --page: #14181c; --ink: #e6eaee; --soft: #9aa5b1; --line: #343c45; --panel: #1c2228; --link: #7ab8f5;
    --good: #58c9a1; --bad: #ff8a80;
    --series-0: #56b4e9; --series-1: #ff9e4a; --series-2: #3ccfa0; --series-3: #e394c3; --series-4: #f0c94b;
    --series-5: #8fd0f2; --series-6: #a9afb7;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 62rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0 0 .25rem; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .75rem; padding-top: .5rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p, ul, dl { margin: .6rem 0; max-width: 48rem; }
a { color: var(--link); }
.subtitle, figcaption, .caption, dt { color: var(--soft); }
.subtitle { margin: 0; }
nav h2 { font-size: 1rem; margin: 1.5rem 0 .25rem; border: 0; padding: 0; }
nav ol { margin: 0; padding-left: 1.4rem; columns: 15rem auto; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
.card .name { font-size: .85rem; color: var(--soft); }
.card .value { font-size: 1.6rem; line-height: 1.3; font-weight: 600; font-variant-numeric: tabular-nums; }
.card .detail { font-size: .85rem; color: var(--soft); }
.tabular { margin: 1.25rem 0; min-width: 0; }
.wide { overflow-x: auto; }
.caption { font-size: .9rem; margin: 0 0 .4rem; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { font-weight: 600; border-bottom: 2px solid var(--line); vertical-align: bottom; }
th.words, td.words { text-align: left; }
td.words { white-space: normal; overflow-wrap: break-word; min-width: 6.5rem; max-width: 40rem; }
td code { white-space: nowrap; }
th:first-child, td:first-child { padding-left: 0; }
tr.total td { font-weight: 600; }
figure { margin: 1.5rem 0; }
figure svg, figure img { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; stroke-linecap: butt; }
figure svg text { font-family: inherit !important; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr)); gap: 1.5rem 2rem; }
.figures figure { margin: .5rem 0; min-width: 0; max-width: 34rem; }
figure.long { overflow-x: auto; }
figure.long svg { min-width: 38rem; }
figcaption { font-size: .9rem; max-width: 48rem; margin-top: .4rem; }
figcaption strong { color: var(--ink); }
.thumbnails { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.thumbnails.panoramas { grid-template-columns: 1fr; }
.thumbnails figure { margin: 0; min-width: 0; }
.thumbnails img { border-radius: .25rem; border: 1px solid var(--line); }
dl { display: grid; grid-template-columns: minmax(8rem, max-content) minmax(0, 1fr); gap: .2rem 1.25rem; }
dd { margin: 0; overflow-wrap: anywhere; }
pre, code { font: .85rem/1.45 ui-monospace, "SFMono-Regular", Menlo, Consolas, monospace; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
.warning { border-left: 4px solid var(--bad); background: var(--panel); padding: .5rem 1rem; max-width: 48rem; }
.better { color: var(--good); }
.worse { color: var(--bad); }
.signature { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 2.5rem 2rem; }
.signature div { border-top: 1px solid var(--ink); margin-top: 3rem; padding-top: .25rem; font-size: .85rem; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--link); }
@media (max-width: 36rem) {
  body { padding: 1rem .8rem 3rem; }
  h1 { font-size: 1.45rem; }
  th, td { padding: .3rem .45rem; font-size: .85rem; }
  dl { grid-template-columns: 1fr; gap: 0; }
  dd { margin-bottom: .5rem; }
  .thumbnails { grid-template-columns: 1fr; }
  .cards { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
  .card .value { font-size: 1.3rem; }
}
@media print {
  @page { margin: 16mm 14mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; }
  figure, tr, .card, .signature, .tabular { break-inside: avoid; }
  .caption, thead, summary { break-after: avoid; }
  /* On paper nothing can be unfolded. */
  details::details-content { content-visibility: visible; block-size: auto; }
  .wide { overflow: visible; }
  a { color: inherit; text-decoration: none; }
  .card, pre, .warning { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
