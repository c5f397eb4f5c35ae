// Figures over time, a small chart each: mean per pixel as a line, the peak of each pixel as a fainter one.

const whole = (v) => (Number.isInteger(v) ? count(v) : digits(v));

function charts() {
  const every = NOTES.traffic_every_us, traffic = RECORD.traffic;
  const rate = (part) => ({ bins: (n, from, to) => meanBins(traffic.map((sample) => (sample[part] * 1e6) / Math.max(1, every)), every, n, from, to), at: (time) => (traffic.length && every ? ((traffic[clamp(Math.floor(time / every), 0, traffic.length - 1)][part] * 1e6) / every) : NaN) });
  const level = (list) => ({ bins: (n, from, to) => stepBins(list, n, from, to), at: (time) => at(list, time, 0) });
  const online = meanOnline();
  const all = [
    { title: "Bytes sent", unit: "per second", figure: (v) => words(bytesOf(v)), colour: "accent", series: rate("bytes"), there: traffic.length },
    { title: "Datagrams sent", unit: "per second", figure: whole, colour: "accent", series: rate("sent"), there: traffic.length, counted: true },
    { title: "Datagrams lost", unit: "per second", figure: whole, colour: "lost", series: rate("lost"), there: traffic.length, counted: true },
    { title: "Devices up", unit: `of ${count(DEVICES.length)}`, figure: whole, colour: "up", series: level(UP), there: DEVICES.length, whole: true },
    { title: "Devices held for online", unit: "mean over those up", figure: whole, colour: "asleep", series: online, there: online.there, counted: true },
    { title: "Tasks running", unit: "at once", figure: whole, colour: "warn", series: level(RUNNING), there: RUNS.length, whole: true },
    { title: "Links", unit: "at once", figure: whole, colour: "soft", series: level(LINKED), there: RECORD.links.length, whole: true },
    { title: "Busy cores", unit: "mean over those up", figure: (v) => `${whole(v)}\u202f%`, colour: "battery", series: meanLoad(), there: online.there },
  ].filter((chart) => chart.there);
  put("charts", all.length ? all.map(chartCard) : h("p", { class: "empty", text: "No samples were taken." }));
  const draw = () => all.forEach(drawChart), move = () => all.forEach(moveCursor);
  on("view", draw);
  on("resize", draw);
  on("time", move);
}

// Means of samples over devices that are up, once: [value per sample].
function overUp(part) {
  const most = DEVICES.reduce((most, device) => Math.max(most, device.samples.length), 0), every = RECORD.sample_every_us;
  const sums = new Float64Array(most), ups = new Uint32Array(most);
  for (const device of DEVICES) {
    let change = 0;
    device.samples.forEach((sample, n) => {
      while (change + 1 < device.states.length && device.states[change + 1][0] <= n * every) change += 1;
      if (device.states[change] && device.states[change][0] <= n * every && device.states[change][1] === "up") { sums[n] += sample[part]; ups[n] += 1; }
    });
  }
  return Array.from(sums, (sum, n) => (ups[n] ? sum / ups[n] : 0));
}
function sampled(values) {
  const every = RECORD.sample_every_us;
  return { there: every ? values.length : 0, bins: (n, from, to) => meanBins(values, every, n, from, to), at: (time) => values[clamp(Math.floor(time / Math.max(1, every)), 0, values.length - 1)] ?? NaN };
}
const meanOnline = () => sampled(overUp("online"));
const meanLoad = () => sampled(overUp("load_permille").map((permille) => permille / 10));

// Of even samples: [time, mean, peak] for each of at most `n` bins of the view.
function meanBins(values, every, n, from, to) {
  if (!every || !values.length) return [];
  const first = clamp(Math.floor(from / every), 0, values.length - 1), last = clamp(Math.ceil(to / every), first, values.length - 1);
  const each = Math.max(1, Math.ceil((last - first + 1) / n)), bins = [];
  for (let k = first; k <= last; k += each) {
    const part = values.slice(k, Math.min(k + each, last + 1));
    bins.push([(k + part.length / 2) * every, part.reduce((sum, v) => sum + v, 0) / part.length, Math.max(...part)]);
  }
  return bins;
}
// Of steps: the value at each bin's begin, and its peak.
function stepBins(list, n, from, to) {
  const bins = [];
  let k = Math.max(0, upTo(list, from, (step) => step[0]) - 1);
  for (let bin = 0; bin <= n; bin += 1) {
    const begin = from + ((to - from) * bin) / n, end = from + ((to - from) * (bin + 1)) / n;
    while (k + 1 < list.length && list[k + 1][0] <= begin) k += 1;
    let peak = list[k][1];
    for (let m = k + 1; m < list.length && list[m][0] < end; m += 1) peak = Math.max(peak, list[m][1]);
    bins.push([begin, list[k][1], peak]);
  }
  return bins;
}

function chartCard(chart) {
  chart.value = h("b");
  chart.svg = s("svg", { role: "img", "aria-label": `${chart.title}, ${chart.unit}, over time` });
  const seek = (event) => { const box = chart.svg.getBoundingClientRect(); setTime(shared.from + clamp((event.clientX - box.left - CHART_LEFT) / Math.max(1, box.width - CHART_LEFT), 0, 1) * (shared.to - shared.from)); };
  chart.svg.addEventListener("pointerdown", seek);
  chart.svg.addEventListener("pointermove", (event) => { if (event.buttons & 1) seek(event); });
  return h("div", { class: "card chart", vars: { "--c": `var(--${chart.colour})` } }, h("header", {}, h("h3", { text: chart.title }), h("small", { text: chart.unit }), chart.value), chart.svg);
}

const CHART_LEFT = 58, CHART_HIGH = 128, CHART_FOOT = 20;

function drawChart(chart) {
  const width = chart.svg.getBoundingClientRect().width, low = CHART_HIGH - CHART_FOOT, high = 8;
  if (width < 10) return;
  const x = (us) => CHART_LEFT + ((us - shared.from) / (shared.to - shared.from)) * (width - CHART_LEFT);
  const bins = chart.series.bins(Math.max(20, Math.floor((width - CHART_LEFT) / 2)), shared.from, shared.to);
  const most = bins.reduce((most, bin) => Math.max(most, bin[2]), 0), top = chart.whole || chart.counted ? evenTop(most) : niceTop(most * 1.02);
  const y = (v) => low - (v / top) * (low - high);
  const line = (part) => bins.map((bin, n) => {
    const [px, py] = [clamp(x(bin[0]), CHART_LEFT, width).toFixed(1), y(bin[part]).toFixed(1)];
    return n === 0 ? `M${px} ${py}` : chart.whole ? `H${px}V${py}` : `L${px} ${py}`;
  }).join("");
  const mean = line(1), peaks = bins.some((bin) => bin[2] > bin[1] * 1.05);
  const marks = [0, top / 2, top].map((v) => [s("path", { class: v ? "grid" : "base", d: `M${CHART_LEFT} ${y(v)}H${width}` }), s("text", { x: CHART_LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, chart.figure(v))]);
  const ticks = timeTicks(shared.from, shared.to, clamp((width - CHART_LEFT) / 100, 1, 7)).map((tick) => {
    const middle = x(tick.at);
    return s("text", { x: middle, y: CHART_HIGH - 4, "text-anchor": middle > width - 24 ? "end" : middle < CHART_LEFT + 20 ? "start" : "middle" }, tick.label);
  });
  chart.cursor = s("path", { class: "cursor" });
  chart.spot = s("circle", { r: 3.5, fill: colours.card, stroke: "var(--c)", "stroke-width": 2 });
  chart.svg.setAttribute("viewBox", `0 0 ${width} ${CHART_HIGH}`);
  chart.svg.replaceChildren(...marks.flat(), ...ticks, ...(bins.length ? [s("path", { class: "area", d: `${mean}L${x(bins[bins.length - 1][0]).toFixed(1)} ${low}L${x(bins[0][0]).toFixed(1)} ${low}Z` })] : []), ...(peaks && !chart.whole ? [s("path", { class: "peak", d: line(2) })] : []), s("path", { class: "line", d: mean }), chart.cursor, chart.spot);
  chart.place = { x, y, width, low, high };
  moveCursor(chart);
}

function moveCursor(chart) {
  if (!chart.place) return;
  const { x, y, width, low, high } = chart.place, now = x(shared.time), value = chart.series.at(shared.time);
  chart.value.textContent = chart.figure(value);
  const seen = now >= CHART_LEFT - 0.5 && now <= width + 0.5;
  chart.cursor.setAttribute("d", seen ? `M${now.toFixed(1)} ${high - 6}V${low}` : "");
  chart.spot.setAttribute("opacity", seen && Number.isFinite(value) ? 1 : 0);
  if (seen && Number.isFinite(value)) { chart.spot.setAttribute("cx", now.toFixed(1)); chart.spot.setAttribute("cy", clamp(y(value), high, low).toFixed(1)); }
}
