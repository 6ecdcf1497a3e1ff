/** The style sheet of the page. */
export const STYLE = `
:root { color-scheme: light dark; --ground: #fcfcfb; --ink: #1b1b19; --soft: #5c5b57; --rule: #e3e2de; --axis: #a9a7a0;
  --p99: #86b6ef; --p999: #2a78d6; --p9999: #0d366b; --most: #d9480f; --w8a8: #2a78d6; --w8a8s: #1baf7a; --w8a16: #eda100; --w8f16: #8a63d2; }
@media (prefers-color-scheme: dark) { :root { --ground: #1a1a19; --ink: #f1f0ec; --soft: #b5b3ab; --rule: #33332f; --axis: #6d6b65;
  --p99: #256abf; --p999: #6da7ec; --p9999: #d5e7fc; --most: #ff8a4c; --w8a8: #3987e5; --w8a8s: #199e70; --w8a16: #c98500; --w8f16: #9b7be0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 20px 16px 48px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 36px 0 4px; }
p { margin: 4px 0 10px; max-width: 46rem; }
.summary, p { color: var(--soft); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; color: var(--ink); }
.legend span { display: inline-flex; align-items: center; gap: 7px; }
.key { display: inline-block; flex: none; }
.key.line { width: 20px; height: 3px; }
.key.fill { width: 13px; height: 13px; border-radius: 2px; }
.key.dot { width: 9px; height: 9px; border-radius: 50%; }
.key.limit { width: 20px; height: 0; border-radius: 0; border-top: 2px dashed var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 14px 20px; }
figure { margin: 0; max-width: 460px; }
figcaption { font-weight: 600; font-size: 0.9rem; }
svg { display: block; width: 100%; height: auto; }
svg text { font: 10.5px system-ui, sans-serif; fill: var(--soft); }
svg .end { text-anchor: end; } svg .mid { text-anchor: middle; } svg .start { text-anchor: start; }
.grid { stroke: var(--rule); stroke-width: 1; } .axis { stroke: var(--axis); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.limit { stroke: var(--soft); stroke-width: 1.5; stroke-dasharray: 5 4; }
.dot { stroke: var(--ground); stroke-width: 0.75; }
.hover { fill: transparent; } .hover:hover { fill: var(--ink); fill-opacity: 0.07; }
${['p99', 'p999', 'p9999', 'most'].map((name) => `svg .line.${name} { stroke: var(--${name}); } svg .dot.${name} { fill: var(--${name}); } .key.${name} { background: var(--${name}); }`).join('\n')}
${['w8a8', 'w8a8s', 'w8a16', 'w8f16'].map((name) => `svg .fill.${name} { fill: var(--${name}); } .key.${name} { background: var(--${name}); }`).join('\n')}
.scroll { overflow-x: auto; margin-top: 12px; }
table { border-collapse: collapse; font-size: 0.87rem; }
th, td { text-align: left; padding: 4px 14px 4px 0; border-bottom: 1px solid var(--rule); vertical-align: top; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
.setting { display: inline-block; max-width: 15rem; white-space: normal; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font: 0.86em ui-monospace, monospace; } small { color: var(--soft); }
`;
