"""The style sheet of reports: on a phone, on a desk, on paper; by day and by night."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f5f7f9; --ink: #1a1d21; --quiet: #535b64; --line: #d3d9df;
  --accent: #0a5c92; --track: #e3e8ed; --warn-paper: #fff3d1; --warn-ink: #4a3500; --warn-line: #b87d00;
  --band: #e5bf74;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --panel: #1d2125; --ink: #e7eaed; --quiet: #a7b0b9; --line: #3a4249;
    --accent: #6cb8ee; --track: #2d343a; --warn-paper: #392c08; --warn-ink: #ffe3a3; --warn-line: #d39b1e;
    --band: #6b5320;
  }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #ffffff; --panel: #ffffff; --ink: #000000; --quiet: #333333; --line: #999999;
    --accent: #000000; --track: #dddddd; --warn-paper: #ffffff; --warn-ink: #000000; --warn-line: #000000;
    --band: #cccccc;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: break-word;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { margin: 0; font-size: 1.15rem; font-weight: 600; color: var(--quiet); }
h2 { margin: 40px 0 12px; padding-bottom: 6px; border-bottom: 1px solid var(--line); font-size: 1.3rem; }
h3 { margin: 24px 0 6px; font-size: 1.05rem; }
p { margin: 0 0 10px; max-width: 72ch; }
ul { margin: 0 0 12px; padding-left: 1.3em; }
li { margin: 2px 0; max-width: 72ch; }
a { color: var(--accent); }
code { font: 0.85em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
.lead { margin: 6px 0; font-size: 1.6rem; font-weight: 650; line-height: 1.25; max-width: none; }
.stage { margin: 0 0 8px; font-size: 1.2rem; line-height: 1.35; max-width: none; }
.quiet { color: var(--quiet); font-size: 0.92rem; }
.notice { margin: 18px 0 0; padding: 10px 14px; border: 1px solid var(--line); border-radius: 6px; max-width: none; }
.warnings {
  margin: 14px 0 0; padding: 12px 16px; border: 1px solid var(--warn-line); border-left-width: 6px; border-radius: 6px;
  background: var(--warn-paper); color: var(--warn-ink);
}
.warnings h2 { margin: 0 0 4px; padding: 0; border: 0; font-size: 1.05rem; }
.warnings ul { margin: 0; }
.views { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px; margin: 10px 0 0; }
.views figure { margin: 0; min-width: 0; }
.views figure:first-child { grid-area: span 2 / span 2; }
.views img { display: block; width: 100%; height: auto; background: #000; border-radius: 4px; }
figcaption { margin-top: 4px; font-size: 0.88rem; line-height: 1.35; color: var(--quiet); }
table { width: 100%; margin: 8px 0 12px; border-collapse: collapse; font-size: 0.92rem; }
caption { padding-bottom: 6px; text-align: left; color: var(--quiet); }
th, td { padding: 7px 8px; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { font-weight: 600; }
thead th { vertical-align: bottom; color: var(--quiet); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.number, .whole { white-space: nowrap; }
thead .number { white-space: normal; }
.facts { margin: 0 0 12px; font-size: 0.95rem; }
.facts div { display: grid; grid-template-columns: 12em 1fr; gap: 4px 14px; padding: 5px 0; }
.facts div + div { border-top: 1px solid var(--line); }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; min-width: 0; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 8px 40px; align-items: start; }
.bars td, .bars th { padding: 4px 8px 4px 0; border: 0; vertical-align: middle; }
.bars caption { padding-bottom: 2px; font-weight: 600; color: var(--ink); }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.bars th { width: 4.2em; }
.bars td.number { width: 4em; white-space: nowrap; }
.bars td.in { width: 4.6em; padding-right: 0; color: var(--quiet); white-space: nowrap; }
.track { display: block; height: 12px; border-radius: 3px; background: var(--track); }
.fill { display: block; height: 12px; min-width: 1px; border-radius: 3px; background: var(--accent); }
.track, .fill, .band, .key { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.along { margin: 0 0 14px; break-inside: avoid; }
.along svg {
  display: block; width: 100%; height: 84px; background: var(--panel); border-bottom: 1px solid var(--quiet);
}
.along .curve { fill: none; stroke: var(--accent); stroke-width: 2; vector-effect: non-scaling-stroke; }
.along .even {
  stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 4 4; vector-effect: non-scaling-stroke;
}
.band { fill: var(--band); }
.key { display: inline-block; width: 14px; height: 10px; background: var(--band); }
.ends { display: flex; justify-content: space-between; font-size: 0.85rem; color: var(--quiet); }
@media (max-width: 640px) {
  main { padding: 16px 14px 40px; }
  .lead { font-size: 1.35rem; }
  .stage { font-size: 1.08rem; }
  .views { grid-template-columns: repeat(2, 1fr); gap: 10px; }
  .views figure:first-child { grid-area: span 1 / span 2; }
  .charts { grid-template-columns: minmax(0, 1fr); }
  .facts div { grid-template-columns: 1fr; gap: 0; }
  .cards, .cards caption, .cards tbody, .cards tr, .cards th, .cards td { display: block; width: auto; }
  .cards thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .cards tr { margin: 0 0 12px; padding: 6px 12px; border: 1px solid var(--line); border-radius: 6px; }
  .cards tbody th { padding: 4px 0; border: 0; font-size: 1.02rem; text-align: left; }
  .cards td { display: grid; grid-template-columns: 9.5em 1fr; gap: 10px; padding: 3px 0; border: 0; text-align: left; }
  .cards td::before { content: attr(data-label); color: var(--quiet); }
  .cards tbody th::before { content: attr(data-label) " "; }
}
@media print {
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  h2, h3, caption, .lead { break-after: avoid; }
  .intro, tr, figure, li, .facts div, .warnings, .notice, .bars, .along { break-inside: avoid; }
  thead { display: table-header-group; }
  .lead { font-size: 1.35rem; }
  .views { grid-template-columns: repeat(4, 1fr); gap: 8px; max-width: 165mm; }
  .views figure:first-child { grid-area: span 2 / span 2; }
  .lesion, #attention { break-inside: avoid; }
  code { font-size: 0.75em; }
  .cards { font-size: 8.5pt; }
  th, td { padding: 4px; }
  a { color: inherit; text-decoration: none; }
}
""".strip()
"""Colours are variables of the page: text on its ground has a contrast of 4.5 at least in every mode."""
