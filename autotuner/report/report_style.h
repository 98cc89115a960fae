// Style and script of reports: colors for light and dark, plots, tables that scroll.
#pragma once

namespace kvpareto::tune {

inline constexpr char kReportStyle[] = R"css(
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d8dee4; --panel: #f6f8fa;
  --ours: #0b62c4; --theirs: #c2410c; --reference: #6e7781; --kv: #2f8f5b; --work: #a371c7; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #0f1318; --ink: #e6edf3; --soft: #9aa5b1; --line: #2d353f; --panel: #171d25;
  --ours: #58a6ff; --theirs: #f0883e; --reference: #8b949e; --kv: #56c288; --work: #bc8cff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 28px 24px 64px; background: var(--paper);
  color: var(--ink); font: 15px/1.55 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 1.35rem; margin: 44px 0 8px; padding-top: 18px; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 30px 0 6px; }
h4 { font-size: .95rem; margin: 22px 0 6px; }
p { max-width: 78ch; margin: 6px 0 12px; }
.lead, .legend, figcaption, caption { color: var(--soft); }
.warning { border-left: 3px solid var(--theirs); padding-left: 10px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr));
  gap: 22px 26px; }
figure { margin: 12px 0; }
figcaption { font-size: .92rem; margin-bottom: 2px; }
svg.plot { display: block; width: 100%; height: auto; font: 11.5px system-ui, "DejaVu Sans",
  sans-serif; }
svg.wide { max-width: 820px; }
svg.heat { max-width: none; }
.grid { stroke: var(--line); stroke-width: .8; }
.axis { stroke: var(--soft); }
.rule { stroke: var(--soft); stroke-dasharray: 4 3; }
.tick { fill: var(--soft); } .label { fill: var(--ink); }
.mid { text-anchor: middle; } .end { text-anchor: end; }
.name { font-weight: 600; }
.stairs { fill: none; stroke: var(--ours); stroke-width: 1.4; opacity: .55; }
.point { fill: var(--paper); stroke-width: 1.4; opacity: .5; }
.point.on { opacity: 1; }
.point text { stroke: none; }
.point .whisker { stroke-width: 1.2; opacity: .55; }
.point .stem { stroke-width: 1; opacity: .35; }
.ours.point { stroke: var(--ours); } .paper.point { stroke: var(--theirs); }
.reference.point { stroke: var(--reference); }
.ours.on { fill: var(--ours); } .paper.on { fill: var(--theirs); }
.reference.on { fill: var(--reference); }
.name.ours { fill: var(--ours); } .name.paper { fill: var(--theirs); }
.name.reference { fill: var(--reference); }
.point:focus, .point.lit, .bar:focus, .cell:focus { outline: none; }
.point:focus circle, .point:focus rect, .point:focus path, .point.lit circle, .point.lit rect,
.point.lit path, .cell:focus rect, .bar:focus rect { stroke: var(--ink); stroke-width: 2.4; }
.part.weights, .key.weights { fill: var(--ours); background: var(--ours); }
.part.kv, .key.kv { fill: var(--kv); background: var(--kv); }
.part.work, .key.work { fill: var(--work); background: var(--work); }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin: 0 5px 0 12px;
  vertical-align: -1px; }
.legend .key:first-child { margin-left: 0; }
.key.ours { background: var(--ours); } .key.paper { background: var(--theirs); }
.key.reference { background: var(--reference); }
.key.weights, .key.kv, .key.work { border-radius: 2px; }
.scroll { overflow-x: auto; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid var(--ours);
  outline-offset: 2px; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums;
  margin: 8px 0 14px; }
caption { text-align: left; padding-bottom: 4px; }
th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
tbody th { font-weight: 600; }
td.num { text-align: right; white-space: nowrap; }
thead .num { text-align: right; }
tbody th { white-space: nowrap; }
details:not([open]) > :not(summary) { display: none; }
td summary, td > code, .note { white-space: nowrap; }
td details code { display: block; max-width: 46ch; }
tr.ours > th { color: var(--ours); } tr.paper > th { color: var(--theirs); }
tr.reference > th { color: var(--reference); }
tr.lit { background: var(--panel); }
code { font: .88em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
summary { cursor: pointer; }
.heat0 { fill: color-mix(in srgb, var(--ours) 4%, var(--paper)); }
.heat1 { fill: color-mix(in srgb, var(--ours) 14%, var(--paper)); }
.heat2 { fill: color-mix(in srgb, var(--ours) 26%, var(--paper)); }
.heat3 { fill: color-mix(in srgb, var(--ours) 38%, var(--paper)); }
.heat4 { fill: color-mix(in srgb, var(--ours) 50%, var(--paper)); }
.heat5 { fill: color-mix(in srgb, var(--ours) 63%, var(--paper)); }
.heat6 { fill: color-mix(in srgb, var(--ours) 76%, var(--paper)); }
.heat7 { fill: color-mix(in srgb, var(--ours) 88%, var(--paper)); }
.heat8 { fill: var(--ours); }
.in0, .in1 { text-anchor: middle; font-size: 10px; fill: var(--ink); } .in1 { fill: var(--paper); }
#tip { position: fixed; z-index: 9; max-width: 420px; padding: 8px 11px; border-radius: 6px;
  background: var(--ink); color: var(--paper); font-size: 12.5px; line-height: 1.45;
  white-space: pre-line; pointer-events: none; overflow-wrap: anywhere; }
@media print { details > * { display: block; } body { max-width: none; } }
)css";

// Shows what a point says when it is pointed at or reached by keyboard, and lights up the same
// config in plots and tables. Without it the browser's own tooltips do.
inline constexpr char kReportScript[] = R"js(
(() => {
  const tip = document.createElement("div");
  tip.id = "tip"; tip.hidden = true; tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  const light = (row, on) => {
    if (row) for (const e of document.querySelectorAll('[data-row="' + row + '"]'))
      e.classList.toggle("lit", on);
  };
  const show = (element) => {
    tip.textContent = element.getAttribute("aria-label");
    tip.hidden = false;
    const at = element.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const left = Math.min(at.right + 10, innerWidth - size.width - 8);
    const above = at.top - size.height - 8;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = (above > 8 ? above : at.bottom + 8) + "px";
  };
  for (const e of document.querySelectorAll("g.point, g.bar, g.cell")) {
    e.querySelector("title")?.remove();
    const on = () => { show(e); light(e.dataset.row, true); };
    const off = () => { tip.hidden = true; light(e.dataset.row, false); };
    e.addEventListener("pointerenter", on); e.addEventListener("focus", on);
    e.addEventListener("pointerleave", off); e.addEventListener("blur", off);
  }
  for (const e of document.querySelectorAll("tr[data-row]")) {
    e.addEventListener("pointerenter", () => light(e.dataset.row, true));
    e.addEventListener("pointerleave", () => light(e.dataset.row, false));
  }
  addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
})();
)js";

}  // namespace kvpareto::tune
