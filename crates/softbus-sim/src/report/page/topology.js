// The mesh at one time: segments as regions, devices on a ring within, links between them, tasks as dots that travel.
// Where a device stands follows from the record alone, so that it is found at the same place at any time.

const RING = 28;

function topology() {
  if (!DEVICES.length) { document.querySelector(".mesh").replaceChildren(h("p", { class: "empty", text: "No devices." })); return; }
  const canvas = $("topology");
  let layout = null, described = 0;
  const draw = () => {
    const { clientWidth: width } = canvas.parentNode;
    const height = innerWidth <= 860 ? 400 : 520;
    if (!layout || layout.width !== width || layout.height !== height) layout = layOut(width, height);
    drawMesh(sizeCanvas(canvas, width, height), layout, shared.time);
    clearTimeout(described);
    described = setTimeout(() => canvas.setAttribute("aria-label", describe()), 400);
  };
  for (const what of ["time", "select", "resize"]) on(what, draw);
  on("time", drawNow);
  on("select", drawNow);
  const near = (event) => {
    const box = canvas.getBoundingClientRect();
    return nearest(layout, event.clientX - box.left, event.clientY - box.top, shared.time);
  };
  canvas.addEventListener("pointermove", (event) => {
    const device = near(event);
    canvas.style.cursor = device ? "pointer" : "default";
    if (device) showTip(event, device.name, ...deviceLines(device, shared.time)); else hideTip();
  });
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("click", (event) => { const device = near(event); if (device) select(device.at); else if (shared.device !== null) select(shared.device); });
  legend("legend-mesh", [
    ["up", (svg) => svg.append(s("circle", { cx: 8, cy: 8, r: 5.5, fill: "var(--up)" }))],
    ["asleep", (svg) => svg.append(s("path", { d: "M10.5 2.8a5.6 5.6 0 1 0 3 7.6 4.8 4.8 0 0 1-3-7.6z", fill: "var(--asleep)" }))],
    ["off", (svg) => svg.append(s("circle", { cx: 8, cy: 8, r: 5, fill: "none", stroke: "var(--off)", "stroke-width": 1.8, "stroke-dasharray": "3 2.2" }))],
    ["lost", (svg) => svg.append(s("path", { d: "M4 4l8 8M12 4l-8 8", stroke: "var(--lost)", "stroke-width": 2.4, "stroke-linecap": "round" }))],
    ["battery", (svg) => svg.append(s("circle", { cx: 8, cy: 8, r: 6, fill: "none", stroke: "var(--line)", "stroke-width": 2.4 }), s("path", { d: "M8 2a6 6 0 1 1-6 6", fill: "none", stroke: "var(--battery)", "stroke-width": 2.4 }))],
    ["task", (svg) => svg.append(s("circle", { cx: 8, cy: 8, r: 4, fill: taskColour(0) }))],
    ["task on its way", (svg) => svg.append(s("path", { d: "M1 12Q8 2 15 8", fill: "none", stroke: taskColour(0), "stroke-width": 1.4, "stroke-dasharray": "2.5 2" }), s("circle", { cx: 8, cy: 6.2, r: 3.4, fill: taskColour(0) }))],
  ]);
}

function legend(id, entries) {
  put(id, entries.map(([text, drawn]) => { const svg = s("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" }); drawn(svg); return h("li", {}, svg, text); }));
}

// Regions for segments by how many devices are ever there, then a slot in it for each of those.
function layOut(width, height) {
  const members = SEGMENTS.map(() => []);
  for (const device of DEVICES) {
    const seen = new Set(device.segments.length ? device.segments.map((change) => clamp(change[1], 0, SEGMENTS.length - 1)) : [0]);
    for (const segment of seen) members[segment]?.push(device.at);
  }
  const gap = 12, weights = members.map((list) => Math.sqrt(list.length + 2) + list.length / 12);
  const boxes = treemap(weights, gap / 2, gap / 2, width - gap, height - gap).map((box) => ({ x: box.x + gap / 2, y: box.y + gap / 2, w: Math.max(8, box.w - gap), h: Math.max(8, box.h - gap) }));
  const slots = new Map();
  let room = 76;
  const regions = boxes.map((box, segment) => {
    const list = members[segment], n = list.length;
    const title = Math.min(26, box.h / 3), cx = box.x + box.w / 2, cy = box.y + title + (box.h - title) / 2 - (n > RING ? 0 : 8);
    const inset = n > RING ? 14 : clamp(Math.min(box.w, box.h) * 0.17, 22, 54);
    let rx = Math.max(4, box.w / 2 - inset), ry = Math.max(4, (box.h - title) / 2 - (n > RING ? 12 : inset - 8));
    if (n <= RING) { rx = Math.min(rx, ry * 1.7 + 20); ry = Math.min(ry, rx * 1.5); }
    list.forEach((device, k) => slots.set(device * SEGMENTS.length + segment, place(k, n, cx, cy, rx, ry)));
    const spacing = n <= 1 ? Math.min(rx, ry) * 2 : n <= RING ? (Math.PI * (rx + ry)) / n : 2 * Math.sqrt((rx * ry) / n) * 0.9;
    if (n) room = Math.min(room, spacing, n === 1 ? 76 : Math.hypot(rx, ry));
    return { ...box, segment, spacing, n };
  });
  return { width, height, regions, slots, room, radius: clamp(room * 0.24, 2.2, 17) };
}

function place(k, n, cx, cy, rx, ry) {
  if (n === 1) return [cx, cy];
  if (n <= RING) { const angle = (k / n) * 2 * Math.PI - Math.PI / 2 + (n === 2 ? Math.PI / 2 : 0); return [cx + rx * Math.cos(angle), cy + ry * Math.sin(angle)]; }
  // A sunflower's seeds, drawn out from the circle into the corners of the box.
  const angle = k * 2.399963, [ux, uy] = [Math.cos(angle), Math.sin(angle)];
  const far = Math.sqrt((k + 0.5) / n) / (ux ** 6 + uy ** 6) ** (1 / 6);
  return [cx + rx * far * ux, cy + ry * far * uy];
}

// Splits the list where its halves weigh about the same, and the box along its longer side.
function treemap(weights, x, y, w, h) {
  if (!weights.length) return [];
  if (weights.length === 1) return [{ x, y, w, h }];
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  let cut = 1, part = weights[0];
  while (cut < weights.length - 1 && Math.abs(part + weights[cut] - all / 2) < Math.abs(part - all / 2)) part += weights[cut++];
  const share = part / all;
  return w >= h
    ? [...treemap(weights.slice(0, cut), x, y, w * share, h), ...treemap(weights.slice(cut), x + w * share, y, w * (1 - share), h)]
    : [...treemap(weights.slice(0, cut), x, y, w, h * share), ...treemap(weights.slice(cut), x, y + h * share, w, h * (1 - share))];
}

const ease = (part) => part * part * (3 - 2 * part);
// A device's place: on its way for a moment after it went to another segment.
function placeOf(layout, device, time) {
  const now = segmentAt(device, time), slot = (segment) => layout.slots.get(device.at * SEGMENTS.length + segment) ?? [layout.width / 2, layout.height / 2];
  const n = upTo(device.segments, time, (change) => change[0]);
  if (n > 1 && time - device.segments[n - 1][0] < TRANSIT) {
    const part = ease((time - device.segments[n - 1][0]) / TRANSIT), [a, b] = [slot(clamp(device.segments[n - 2][1], 0, SEGMENTS.length - 1)), slot(now)];
    return [a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part];
  }
  return slot(now);
}

function nearest(layout, x, y, time) {
  let best = null, least = Math.max(12, layout.radius + 6);
  for (const device of DEVICES) {
    const [px, py] = placeOf(layout, device, time), far = Math.hypot(px - x, py - y);
    if (far < least) { least = far; best = device; }
  }
  return best;
}

function drawMesh(pen, layout, time) {
  const places = DEVICES.map((device) => placeOf(layout, device, time));
  drawRegions(pen, layout);
  drawLinks(pen, layout, places, linksAt(time));
  drawTitles(pen, layout, time);
  const moving = movingAt(time);
  const away = new Set(moving.map((move) => move.task * DEVICES.length + move.from).concat(moving.map((move) => move.task * DEVICES.length + move.to)));
  for (const move of moving) drawPath(pen, places[move.from], places[move.to], move, time, layout.radius);
  const tasks = new Map();
  for (const run of runsAt(time)) {
    if (away.has(run.task * DEVICES.length + run.on)) continue;
    if (!tasks.has(run.on)) tasks.set(run.on, []);
    tasks.get(run.on).push(run.task);
  }
  for (const device of DEVICES) drawDevice(pen, layout, device, places[device.at], time, tasks.get(device.at) ?? []);
  for (const move of moving) drawTraveller(pen, places[move.from], places[move.to], move, time, layout.radius);
}

function drawRegions(pen, layout) {
  for (const region of layout.regions) {
    pen.beginPath();
    pen.roundRect(region.x, region.y, region.w, region.h, Math.min(22, region.w / 3, region.h / 3));
    pen.fillStyle = segmentColour(region.segment, dark.matches ? 0.16 : 0.13);
    pen.fill();
    pen.strokeStyle = segmentColour(region.segment, 0.45);
    pen.lineWidth = 1;
    pen.stroke();
  }
}

function drawTitles(pen, layout, time) {
  const there = new Uint32Array(SEGMENTS.length), up = new Uint32Array(SEGMENTS.length);
  for (const device of DEVICES) { const segment = segmentAt(device, time); there[segment] += 1; if (stateAt(device, time) === "up") up[segment] += 1; }
  pen.textAlign = "left";
  for (const region of layout.regions) {
    pen.font = `600 12px ${SANS}`;
    pen.fillStyle = colours.soft;
    const title = fitted(pen, SEGMENTS[region.segment], region.w - 28), wide = pen.measureText(title).width;
    pen.fillText(title, region.x + 14, region.y + 20);
    pen.font = `12px ${SANS}`;
    pen.fillStyle = colours.faint;
    const ups = `${up[region.segment]} of ${there[region.segment]} up`;
    if (region.w - wide - 34 > pen.measureText(ups).width) pen.fillText(ups, region.x + 20 + wide, region.y + 20);
  }
}

function drawLinks(pen, layout, places, links) {
  const chosen = shared.device;
  const line = (own) => {
    pen.beginPath();
    for (const link of links) {
      if ((link.a === chosen || link.b === chosen) !== own) continue;
      pen.moveTo(...places[link.a]);
      pen.lineTo(...places[link.b]);
    }
    pen.stroke();
  };
  pen.strokeStyle = colours.ink;
  pen.lineWidth = links.length > 400 ? 0.6 : 1.2;
  pen.globalAlpha = clamp(6 / Math.sqrt(links.length + 1), 0.04, 1) * 0.34 * (chosen === null ? 1 : 0.5) + 0.02;
  line(false);
  if (chosen === null) { pen.globalAlpha = 1; return; }
  pen.globalAlpha = 0.8;
  pen.lineWidth = 1.5;
  pen.strokeStyle = colours.accent;
  line(true);
  pen.globalAlpha = 1;
}

function drawDevice(pen, layout, device, [x, y], time, tasks) {
  const r = layout.radius, state = stateAt(device, time), small = r < 6;
  const chosen = shared.device === device.at;
  if (chosen) { pen.beginPath(); pen.arc(x, y, r + (small ? 5 : 9), 0, 7); pen.strokeStyle = colours.accent; pen.lineWidth = 2; pen.stroke(); }
  pen.beginPath();
  if (state === "up") { pen.arc(x, y, r, 0, 7); pen.fillStyle = colours.up; pen.fill(); }
  else if (state === "asleep") {
    pen.arc(x, y, r, -0.9, 2.5, false);
    pen.arc(x + r * 0.0, y, r, 2.5, 4.1, false);
    pen.quadraticCurveTo(x - r * 0.05, y + r * 0.15, x + r * Math.cos(-0.9) * 1, y + r * Math.sin(-0.9));
    pen.fillStyle = colours.asleep;
    pen.fill();
  } else if (state === "lost") {
    const d = r * 0.75;
    pen.moveTo(x - d, y - d); pen.lineTo(x + d, y + d); pen.moveTo(x + d, y - d); pen.lineTo(x - d, y + d);
    pen.strokeStyle = colours.lost; pen.lineWidth = Math.max(1.4, r / 4); pen.lineCap = "round"; pen.stroke(); pen.lineCap = "butt";
  } else {
    pen.arc(x, y, Math.max(1, r - 1), 0, 7);
    pen.fillStyle = colours.sunk; pen.fill();
    pen.strokeStyle = colours.off; pen.lineWidth = small ? 1 : 1.6;
    if (!small) pen.setLineDash([3.4, 2.6]);
    pen.stroke(); pen.setLineDash([]);
  }
  const sample = sampleAt(device, time);
  if (!small && sample && sample.battery_permille !== null && state !== "lost") {
    const full = clamp(sample.battery_permille / 1000, 0, 1);
    pen.lineWidth = 2.6;
    pen.beginPath(); pen.arc(x, y, r + 4.2, 0, 7); pen.strokeStyle = colours.line; pen.stroke();
    pen.beginPath(); pen.arc(x, y, r + 4.2, -Math.PI / 2, -Math.PI / 2 + full * 2 * Math.PI);
    pen.strokeStyle = full < 0.2 ? colours.warn : colours.battery; pen.globalAlpha = state === "up" ? 1 : 0.45; pen.stroke(); pen.globalAlpha = 1;
  }
  drawTasks(pen, x, y, r, small, tasks);
  if (!small && layout.room > 44) {
    pen.font = `${chosen ? "650" : "500"} 12px ${SANS}`;
    pen.textAlign = "center";
    pen.fillStyle = state === "up" || chosen ? colours.ink : colours.faint;
    pen.fillText(fitted(pen, device.name, clamp(layout.room * 1.15, 60, 120)), x, y + r + 20);
  }
}

function drawTasks(pen, x, y, r, small, tasks) {
  if (!tasks.length) return;
  const far = small ? r + 2 : r + 11, dot = small ? Math.max(1.8, r * 0.6) : 4.2, shown = Math.min(tasks.length, small ? 3 : 8);
  const step = (dot * 2 + 1.6) / far, first = -Math.PI / 2 - (step * (shown - 1)) / 2;
  for (let k = 0; k < shown; k += 1) {
    const angle = first + k * step;
    pen.beginPath(); pen.arc(x + far * Math.cos(angle), y + far * Math.sin(angle), dot, 0, 7);
    pen.fillStyle = taskColour(tasks[k]); pen.fill();
    pen.strokeStyle = colours.card; pen.lineWidth = small ? 0.5 : 1.2; pen.stroke();
  }
  if (tasks.length > shown && !small) {
    pen.font = `600 10px ${SANS}`; pen.textAlign = "left"; pen.fillStyle = colours.soft;
    pen.fillText(`+${tasks.length - shown}`, x + far + 3, y - 6);
  }
}

// A bow from one device to the other.
function bow([ax, ay], [bx, by]) {
  const bend = 0.16;
  return [(ax + bx) / 2 + (by - ay) * bend, (ay + by) / 2 - (bx - ax) * bend];
}
function drawPath(pen, a, b, move, time, r) {
  const [cx, cy] = bow(a, b);
  pen.beginPath(); pen.moveTo(...a); pen.quadraticCurveTo(cx, cy, ...b);
  pen.strokeStyle = taskColour(move.task); pen.lineWidth = r < 6 ? 1 : 1.6; pen.globalAlpha = 0.75;
  pen.setLineDash([5, 4]); pen.stroke(); pen.setLineDash([]); pen.globalAlpha = 1;
}
function drawTraveller(pen, a, b, move, time, r) {
  const part = ease(clamp((time - move.seen) / Math.max(1, move.at_us - move.seen), 0, 1)), [cx, cy] = bow(a, b), rest = 1 - part;
  const x = rest * rest * a[0] + 2 * rest * part * cx + part * part * b[0], y = rest * rest * a[1] + 2 * rest * part * cy + part * part * b[1];
  const dot = r < 6 ? 3.4 : 5.5;
  pen.beginPath(); pen.arc(x, y, dot + 4, 0, 7); pen.fillStyle = taskColour(move.task); pen.globalAlpha = 0.25; pen.fill(); pen.globalAlpha = 1;
  pen.beginPath(); pen.arc(x, y, dot, 0, 7); pen.fill(); pen.strokeStyle = colours.card; pen.lineWidth = 1.5; pen.stroke();
}

const countStates = remembered((time) => { const counts = new Map(STATES.map((state) => [state, 0])); for (const device of DEVICES) { const state = stateAt(device, time); counts.set(state, (counts.get(state) ?? 0) + 1); } return [...counts]; });
const describe = () => `The mesh at ${moment(shared.time)}: ${countStates(shared.time).filter(([, n]) => n).map(([state, n]) => `${n} ${state}`).join(", ") || "no devices"}; ${linksAt(shared.time).length} links; ${runsAt(shared.time).length} tasks running`;

function deviceLines(device, time) {
  const sample = sampleAt(device, time), state = stateAt(device, time);
  return [
    `${device.kind} ${plain(device.id)}: ${state} on ${SEGMENTS[segmentAt(device, time)]}`,
    sample && [sample.battery_permille !== null && `battery ${digits(sample.battery_permille / 10)} %`, sample.celsius !== null && `${Math.round(sample.celsius)} °C`, `load ${digits(sample.load_permille / 10)} %`, `holds ${sample.online} for online`].filter(Boolean).join(", "),
  ];
}

// What the picture shows, in words, beside it.
function drawNow() {
  const time = shared.time, running = runsAt(time), moving = movingAt(time), device = DEVICES[shared.device];
  const mine = (on) => !device || on === device.at;
  const select = $("now").querySelector("select") ?? h("select", { "aria-label": "Device shown", onchange: (event) => { shared.device = event.target.value === "" ? null : Number(event.target.value); tell("select"); } },
    h("option", { value: "", text: "All devices" }), DEVICES.map((device) => h("option", { value: device.at, text: clip(device.name, 60) })));
  select.value = device ? String(device.at) : "";
  const list = running.filter((run) => mine(run.on)), going = moving.filter((move) => mine(move.from) || mine(move.to));
  const row = (task, where) => h("li", {}, h("span", { class: "dot", vars: { "--c": taskColour(task) } }), h("span", { class: "grow", title: clip(TASK_NAMES[task], 300), text: clip(TASK_NAMES[task], 60), dir: "auto" }), h("span", { class: "at", text: clip(where, 60), dir: "auto" }));
  const body = [
    device
      ? h("div", {}, deviceLines(device, time).filter(Boolean).map((line) => h("p", { class: "word", text: clip(line, 200), dir: "auto" })))
      : h("ul", { class: "states" }, countStates(time).map(([state, n]) => h("li", {}, h("span", { class: "dot", vars: { "--c": `var(--${state})` } }), state, h("b", { text: count(n) })))),
    h("ul", { class: "rows" }, h("li", {}, "Links", h("b", { text: count(linksAt(time).filter((link) => !device || link.a === device.at || link.b === device.at).length) }))),
    h("div", {}, h("h3", { text: `Running: ${count(list.length)}` }), h("ul", { class: "rows" }, list.slice(0, 9).map((run) => row(run.task, device ? "" : DEVICES[run.on].name)))),
    going.length ? h("div", {}, h("h3", { text: `On their way: ${count(going.length)}` }), h("ul", { class: "rows" }, going.slice(0, 6).map((move) => row(move.task, `→ ${DEVICES[move.to].name}`)))) : null,
  ].filter(Boolean);
  if (!select.isConnected) put("now", select);
  while (select.nextSibling) select.nextSibling.remove();
  $("now").append(...body);
}
