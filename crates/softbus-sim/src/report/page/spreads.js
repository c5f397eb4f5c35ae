// How long things took, all on one logarithmic axis: each case a dot where the record has the cases, a band of counts
// where there are too many for dots, and always the spread that the run itself found.

const DOTS = 400;

function spreads() {
  const downtimes = (failover) => MOVES.filter((move) => (move.reason === "failover") === failover).map((move) => move.downtime_us);
  const since = (part) => RECORD.tasks.filter((task) => task[part] !== null).map((task) => Math.max(0, task[part] - task.submitted_us));
  const rows = [
    { name: "Discovery", says: "from its start to being seen", spread: SUMMARY.discovery_us },
    { name: "Pairing", says: "from a PIN's being shown to being in", spread: SUMMARY.pairing_us },
    { name: "Presence", says: "from loss or return to being held so", spread: SUMMARY.presence_us },
    { name: "Hand-over", says: "last step there to first step here", spread: SUMMARY.handover_us, values: downtimes(false), colour: "accent" },
    { name: "Fail-over", says: "last step there to first step here", spread: SUMMARY.failover_us, values: downtimes(true), colour: "lost" },
    { name: "Accepted", says: "from submission", values: since("accepted_us"), colour: "warn" },
    { name: "Done", says: "from submission", values: since("done_us"), colour: "up" },
  ];
  for (const row of rows) { row.spread ??= spreadOf(row.values); row.colour ??= "asleep"; }
  const shown = rows.filter((row) => row.spread.count > 0);
  const draw = () => { drawSpreads(shown); drawRegret(); };
  on("resize", draw);
  on("view", draw);
}

function spreadOf(values) {
  const sorted = [...values].sort((a, b) => a - b), rank = (permille) => sorted[Math.max(1, Math.ceil((sorted.length * permille) / 1000)) - 1] ?? 0;
  return { count: sorted.length, min: sorted[0] ?? 0, p50: rank(500), p99: rank(990), max: sorted[sorted.length - 1] ?? 0 };
}

function drawSpreads(rows) {
  if (!rows.length) { put("spreads", h("p", { class: "empty", text: "Nothing of this sort happened." })); return; }
  const width = $("spreads").clientWidth - 36, narrow = width < 560;
  const left = narrow ? 6 : 150, right = width - 12, tall = narrow ? 88 : 62, axis = 24, height = rows.length * tall + axis;
  const least = Math.max(1, Math.min(...rows.map((row) => Math.max(1, row.spread.min)))), most = Math.max(...rows.map((row) => row.spread.max), least * 10);
  const [a, b] = [Math.log10(least) - 0.15, Math.log10(most) + 0.15];
  const x = (us) => left + ((Math.log10(Math.max(1, us)) - a) / (b - a)) * (right - left);
  const svg = s("svg", { role: "img", viewBox: `0 0 ${width} ${height}`, height, "aria-label": rows.map((row) => `${row.name}: p50 ${span(row.spread.p50)}, p99 ${span(row.spread.p99)}, of ${row.spread.count}`).join("; ") });
  const tens = [[1, "1 µs"], [1e1, "10 µs"], [1e2, "100 µs"], [1e3, "1 ms"], [1e4, "10 ms"], [1e5, "100 ms"], [1e6, "1 s"], [1e7, "10 s"], [6e7, "1 min"], [6e8, "10 min"], [3.6e9, "1 h"], [3.6e10, "10 h"], [8.64e10, ""], [8.64e11, "10 d"]].filter(([us]) => Math.log10(us) >= a && Math.log10(us) <= b);
  let labelled = -Infinity;
  for (const [us, label] of tens) {
    const place = clamp(x(us), narrow ? 22 : left - 4, right - 14);
    svg.append(s("path", { class: "grid", d: `M${x(us)} 0V${height - axis}` }));
    if (place - labelled < 42) continue;
    svg.append(s("text", { x: place, y: height - 6, "text-anchor": "middle" }, label));
    labelled = place;
  }
  rows.forEach((row, n) => {
    const y = n * tall, middle = y + (narrow ? 50 : 30);
    if (n) svg.append(s("path", { class: "grid", d: `M0 ${y}H${width}` }));
    const title = `${row.spread.count ? `${count(row.spread.count)} · ` : ""}${row.says}`;
    svg.append(s("text", { class: "ink", x: 0, y: y + 20 }, row.name), narrow ? s("text", { x: 80, y: y + 20 }, title) : s("text", { x: 0, y: y + 37 }, count(row.spread.count)), ...(narrow ? [] : [s("title", {}, row.says)]));
    const group = s("g", { vars: { "--c": `var(--${row.colour})` } }, s("title", {}, `${row.name}, ${row.says}: least ${span(row.spread.min)}, p50 ${span(row.spread.p50)}, p99 ${span(row.spread.p99)}, most ${span(row.spread.max)}, of ${row.spread.count}`));
    group.append(s("path", { d: `M${x(row.spread.min)} ${middle}H${x(row.spread.max)}`, stroke: "var(--c)", "stroke-opacity": 0.4, "stroke-width": 1.5 }));
    if (row.values?.length) group.append(row.values.length <= DOTS ? dots(row.values, x, middle) : ridge(row.values, x, middle, left, right, 17));
    else group.append(s("path", { d: `M${x(row.spread.p50)} ${middle}H${x(row.spread.p99)}`, stroke: "var(--c)", "stroke-opacity": 0.35, "stroke-width": 14, "stroke-linecap": "round" }));
    for (const [part, dash] of [["p50", null], ["p99", "3 2.5"]]) group.append(s("path", { d: `M${x(row.spread[part])} ${middle - 17}V${middle + 17}`, stroke: "var(--c)", "stroke-width": 2, "stroke-dasharray": dash }));
    svg.append(group);
    const text = (us, words) => { const half = words.length * 3.2; return s("text", { class: "strong", x: clamp(us, left + half, right - half), y: middle + 28, "text-anchor": "middle" }, words); };
    const [half, most] = [x(row.spread.p50), x(row.spread.p99)], [p50, p99] = [`p50 ${span(row.spread.p50)}`, `p99 ${span(row.spread.p99)}`];
    if (most - half < 100) svg.append(text((half + most) / 2, `${p50} · ${p99}`)); else svg.append(text(half, p50), text(most, p99));
  });
  put("spreads", svg);
}

// Scattered a little, the same way each time.
function dots(values, x, middle) {
  return s("g", { fill: "var(--c)", "fill-opacity": 0.5 }, values.map((value, n) => s("circle", { cx: x(value).toFixed(1), cy: (middle + (((n * 0.618034) % 1) - 0.5) * 22).toFixed(1), r: 2.8 })));
}
function ridge(values, x, middle, left, right, tall) {
  const bins = new Float64Array(Math.max(8, Math.floor((right - left) / 5)));
  for (const value of values) bins[clamp(Math.floor(((x(value) - left) / (right - left)) * bins.length), 0, bins.length - 1)] += 1;
  const most = Math.max(...bins), step = (right - left) / bins.length;
  return s("g", { fill: "var(--c)", "fill-opacity": 0.55 }, Array.from(bins, (n, bin) => { const half = n ? Math.max(1, (n / most) * tall) : 0; return n ? s("rect", { x: (left + bin * step).toFixed(1), y: (middle - half).toFixed(1), width: Math.max(1, step - 1).toFixed(1), height: (half * 2).toFixed(1), rx: 1 }) : null; }));
}

// How much longer tasks take where they were placed than at the best device.
function drawRegret() {
  const values = RECORD.tasks.filter((task) => task.placed).map((task) => (Math.max(0, task.placed.chosen_us - task.placed.best_us) / Math.max(1, task.placed.best_us)) * 1000);
  const spread = SUMMARY.regret_permille.count ? SUMMARY.regret_permille : spreadOf(values.map(Math.round));
  const title = [h("h3", { text: "Placement regret" }), h("p", { class: "hint", text: "Longer than at the best device, by share of the best time" })];
  if (!values.length) { put("regret", title, h("p", { class: "empty", text: spread.count ? `p50 ${digits(spread.p50 / 10)} %, p99 ${digits(spread.p99 / 10)} %, of ${count(spread.count)}` : "No placement was judged." })); return; }
  const width = $("regret").clientWidth - 36, height = innerWidth <= 860 ? 220 : Math.max(210, ($("spreads").clientHeight || 0) - 100), left = 34, low = height - 24, top = niceTop(Math.max(20, Math.max(...values)));
  const bins = new Uint32Array(Math.max(8, Math.min(24, Math.floor(width / 14))));
  for (const value of values) bins[Math.min(bins.length - 1, Math.floor((value / top) * bins.length))] += 1;
  const most = evenTop(Math.max(...bins)), step = (width - left) / bins.length, y = (n) => low - (n / most) * (low - 40), x = (permille) => left + (permille / top) * (width - left);
  const svg = s("svg", { role: "img", viewBox: `0 0 ${width} ${height}`, height, "aria-label": `Placement regret: p50 ${digits(spread.p50 / 10)} %, p99 ${digits(spread.p99 / 10)} %`, vars: { "--c": "var(--accent)" } });
  for (const n of [0, most / 2, most]) svg.append(s("path", { class: n ? "grid" : "base", d: `M${left} ${y(n)}H${width}` }), s("text", { x: left - 7, y: y(n) + 4, "text-anchor": "end" }, Number.isInteger(n) ? count(n) : digits(n)));
  bins.forEach((n, bin) => n && svg.append(s("rect", { x: left + bin * step + 1, y: Math.min(low - 1.5, y(n)), width: Math.max(1, step - 2), height: Math.max(1.5, low - y(n)), rx: 2, fill: "var(--c)", "fill-opacity": 0.75 }, s("title", {}, `${digits((bin * top) / bins.length / 10)}–${digits(((bin + 1) * top) / bins.length / 10)} %: ${noun(n, "tasks")}`))));
  for (const part of [0, 0.25, 0.5, 0.75, 1]) svg.append(s("text", { x: x(top * part), y: height - 6, "text-anchor": part === 0 ? "start" : part === 1 ? "end" : "middle" }, `${digits((top * part) / 10)} %`));
  for (const [part, dash, tall] of [["p50", null, 4], ["p99", "3 2.5", 19]]) {
    const place = x(Math.min(top, spread[part]));
    svg.append(s("path", { d: `M${place} ${tall}V${low}`, stroke: "var(--ink)", "stroke-width": 1.5, "stroke-dasharray": dash, "stroke-opacity": 0.7 }), s("text", { class: "strong", x: place + (place > width - 90 ? -5 : 5), y: tall + 8, "text-anchor": place > width - 90 ? "end" : "start" }, `${part} ${digits(spread[part] / 10)} %`));
  }
  put("regret", title, svg);
}
