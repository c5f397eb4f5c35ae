// A lane per device over time, on a canvas as large as what is seen of it: a thousand lanes cost no more than twenty.

const AXIS = 34, BODY_TOP = 11, MOST_ROWS = 7;

function lanes() {
  const scroll = $("lanes-scroll"), canvas = $("lanes");
  zooms();
  if (!DEVICES.length) { scroll.replaceChildren(h("p", { class: "empty", text: "No devices." })); return; }
  const many = DEVICES.length > 60;
  const rowTall = many ? 10 : 15;
  let top = 0;
  const rows = DEVICES.map((device) => {
    const shown = Math.min(device.rows, MOST_ROWS);
    const tall = BODY_TOP + Math.max(many ? 16 : 27, shown * rowTall) + (many ? 5 : 8);
    const row = { device, top, tall, rowTall };
    top += tall;
    return row;
  });
  const all = top + AXIS;
  const seen = { rows, hits: [], width: 0, height: 0 };
  // What the time does not change is drawn apart, and kept while it plays.
  const still = document.createElement("canvas");
  const draw = () => {
    const width = scroll.clientWidth, height = Math.max(120, Math.min(all, innerWidth <= 860 ? Math.round(innerHeight * 0.7) - 2 : 618));
    $("lanes-space").style.height = `${Math.max(0, all - height)}px`;
    seen.width = width;
    seen.height = height;
    seen.gutter = width < 560 ? 98 : 158;
    drawLanes(sizeCanvas(still, width, height), seen, scroll.scrollTop);
    go();
  };
  const go = () => {
    const pen = sizeCanvas(canvas, seen.width, seen.height);
    pen.drawImage(still, 0, 0, seen.width, seen.height);
    for (const row of seen.visible) drawName(pen, seen, row);
    drawAxis(pen, seen);
  };
  on("time", () => { if (seen.visible) go(); });
  scroll.addEventListener("scroll", draw, { passive: true });
  for (const what of ["view", "select", "resize"]) on(what, draw);
  on("select", () => {
    const row = rows[shared.device];
    if (row && (row.top < scroll.scrollTop || row.top + row.tall > scroll.scrollTop + seen.height - AXIS)) scroll.scrollTop = row.top - seen.height / 3;
  });
  lanePointer(canvas, seen, scroll);
  scroll.addEventListener("keydown", (event) => {
    const by = (shared.to - shared.from) / 100;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") { setTime(shared.time + (event.key === "ArrowLeft" ? -by : by)); event.preventDefault(); }
    else if (event.key === "+" || event.key === "-") zoom(event.key === "+" ? 0.5 : 2);
  });
  const mark = (drawn) => (svg) => svg.append(...[drawn].flat());
  legend("legend-lanes", [
    ...STATES.map((state) => [state, mark(s("rect", { x: 1, y: 5, width: 14, height: 6, rx: 2, fill: `var(--${state})` }))]),
    ["task, a colour each", mark(s("rect", { x: 1, y: 3, width: 14, height: 10, rx: 3, fill: taskColour(1) }))],
    ["move", mark(s("path", { d: "M2 3C8 3 8 13 13 13M10 10l3 3-3 3", fill: "none", stroke: "var(--ink)", "stroke-width": 1.3 }))],
    ["battery", mark(s("path", { d: "M1 5Q8 5 15 12", fill: "none", stroke: "var(--battery)", "stroke-width": 1.6 }))],
    ["fault", mark(s("path", { d: "M3 3h10l-5 9z", fill: "var(--lost)" }))],
    ["healed", mark(s("path", { d: "M3 12h10L8 3z", fill: "var(--up)" }))],
    ["person", mark(s("circle", { cx: 8, cy: 8, r: 4.5, fill: "var(--accent)" }))],
    ["violation", mark(s("path", { d: "M8 1l7 7-7 7-7-7z", fill: "var(--lost)" }))],
  ]);
}

function zoom(by) {
  const length = (shared.to - shared.from) * by, part = clamp((shared.time - shared.from) / (shared.to - shared.from), 0, 1);
  setView(shared.time - length * part, shared.time + length * (1 - part));
}

function zooms() {
  $("zoom-in").addEventListener("click", () => zoom(0.5));
  $("zoom-out").addEventListener("click", () => zoom(2));
  $("zoom-all").addEventListener("click", () => setView(0, END));
  on("view", () => {
    const whole = shared.to - shared.from >= END;
    $("zoom").textContent = whole ? "all" : span(shared.to - shared.from);
    $("zoom-out").disabled = $("zoom-all").disabled = whole;
  });
}

function lanePointer(canvas, seen, scroll) {
  const timeAt = (x) => shared.from + ((x - seen.gutter) / Math.max(1, seen.width - seen.gutter - 12)) * (shared.to - shared.from);
  const spot = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const laneAt = (y) => (y < AXIS ? null : seen.rows[upTo(seen.rows, y - AXIS + scroll.scrollTop, (row) => row.top) - 1]);
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = spot(event);
    if (event.buttons & 1 && x > seen.gutter) setTime(timeAt(x));
    const hit = seen.hits.findLast((hit) => x >= hit.x - 4 && x <= hit.x + hit.w + 4 && y >= hit.y - 2 && y <= hit.y + hit.h + 2);
    const row = laneAt(y);
    if (hit) showTip(event, ...hit.tip());
    else if (row && y < seen.height) { const time = x > seen.gutter ? clamp(timeAt(x), 0, END) : shared.time; showTip(event, row.device.name, ...deviceLines(row.device, time), moment(time)); }
    else hideTip();
  });
  canvas.addEventListener("pointerleave", hideTip);
  canvas.addEventListener("pointerdown", (event) => {
    const [x, y] = spot(event);
    if (x > seen.gutter) setTime(timeAt(x));
    else { const row = laneAt(y); if (row) select(row.device.at); }
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const by = Math.exp((event.deltaY || event.deltaX) / 300), pivot = timeAt(spot(event)[0]);
    setView(pivot - (pivot - shared.from) * by, pivot + (shared.to - pivot) * by);
  }, { passive: false });
}

function drawLanes(pen, seen, scrolled) {
  const { width, height, gutter } = seen, right = width - 12;
  const x = seen.x = (us) => gutter + ((us - shared.from) / (shared.to - shared.from)) * (right - gutter);
  seen.hits = [];
  const first = Math.max(0, upTo(seen.rows, scrolled, (row) => row.top) - 1), visible = [];
  for (let n = first; n < seen.rows.length && seen.rows[n].top - scrolled + AXIS < height; n += 1) visible.push({ ...seen.rows[n], y: seen.rows[n].top - scrolled + AXIS });
  seen.visible = visible;
  const ticks = seen.ticks = timeTicks(shared.from, shared.to, clamp((right - gutter) / 90, 2, 14));
  pen.fillStyle = colours.line;
  for (const tick of ticks) pen.fillRect(Math.round(x(tick.at)), AXIS - 6, 1, height);
  pen.save();
  pen.beginPath(); pen.rect(gutter, 0, right - gutter, height); pen.clip();
  for (const row of visible) drawBattery(pen, seen, row, x);
  for (const row of visible) drawStates(pen, seen, row, x);
  const moves = drawMoves(pen, seen, visible, scrolled, x);
  for (const row of visible) drawRuns(pen, seen, row, x);
  seen.hits.push(...moves);
  for (const row of visible) drawMarksOf(pen, seen, row.device.marks, row.y + 1, x);
  pen.restore();
}

function drawName(pen, { gutter, width, rows }, row) {
  const { device, y, tall } = row, small = rows.length > 60, chosen = shared.device === device.at;
  pen.fillStyle = colours.line;
  pen.fillRect(0, y, width, 1);
  if (chosen) { pen.fillStyle = colours.accent; pen.fillRect(0, y + 1, 3, tall - 1); }
  const state = stateAt(device, shared.time), middle = y + Math.min(tall / 2, 26);
  pen.beginPath();
  pen.arc(18, middle, 4, 0, 7);
  if (state === "off") { pen.strokeStyle = colours.off; pen.lineWidth = 1.5; pen.stroke(); } else { pen.fillStyle = colours[state]; pen.fill(); }
  pen.textAlign = "left";
  pen.font = `${chosen ? 650 : 550} ${small ? 12 : 13}px ${SANS}`;
  pen.fillStyle = state === "up" || chosen ? colours.ink : colours.faint;
  pen.fillText(fitted(pen, device.name, gutter - 40), 30, middle + (small || tall < 40 ? 4 : -1));
  if (!small && tall >= 40) {
    const sample = sampleAt(device, shared.time);
    pen.font = `11px ${SANS}`;
    pen.fillStyle = colours.faint;
    const charge = sample && sample.battery_permille !== null ? `${Math.round(sample.battery_permille / 10)} %` : "";
    pen.fillText(fitted(pen, gutter > 100 ? [charge, SEGMENTS[segmentAt(device, shared.time)]].filter(Boolean).join(" · ") : charge, gutter - 38), 30, middle + 14);
  }
}

function drawStates(pen, seen, { device, y }, x) {
  const changes = device.states;
  for (let n = 0; n < changes.length; n += 1) {
    const from = changes[n][0], to = changes[n + 1]?.[0] ?? END;
    if (to < shared.from || from > shared.to) continue;
    const state = changes[n][1], left = x(from), wide = Math.max(1, x(to) - left);
    pen.fillStyle = colours[state];
    pen.globalAlpha = state === "off" ? 0.55 : 0.9;
    pen.fillRect(left, y + 5, wide, 4);
    if (state !== "up") { pen.globalAlpha = state === "lost" ? 0.1 : 0.09; pen.fillRect(left, y + 9, wide, seen.rows[device.at].tall - 9); }
    pen.globalAlpha = 1;
  }
}

function drawBattery(pen, seen, { device, y, tall }, x) {
  const { samples } = device, every = RECORD.sample_every_us;
  if (!every || !samples.some((sample) => sample.battery_permille !== null)) return;
  const low = y + tall - 2, room = tall - BODY_TOP - 2;
  const first = clamp(Math.floor(shared.from / every) - 1, 0, samples.length - 1), last = clamp(Math.ceil(shared.to / every) + 1, 0, samples.length - 1);
  const step = Math.max(1, Math.floor((last - first) / 900));
  pen.beginPath();
  let begun = null, end = 0;
  for (let n = first; n <= last; n += step) {
    if (samples[n].battery_permille === null) continue;
    end = x(n * every);
    const charge = low - (samples[n].battery_permille / 1000) * room;
    if (begun === null) { begun = end; pen.moveTo(end, charge); } else pen.lineTo(end, charge);
  }
  if (begun === null) return;
  if (last === samples.length - 1 && samples[last].battery_permille !== null) { end = x(Math.min(END, (last + 1) * every)); pen.lineTo(end, low - (samples[last].battery_permille / 1000) * room); }
  pen.strokeStyle = colours.battery; pen.lineWidth = 1.3; pen.globalAlpha = 0.75; pen.stroke();
  pen.lineTo(end, low); pen.lineTo(begun, low);
  pen.fillStyle = colours.battery; pen.globalAlpha = 0.1; pen.fill(); pen.globalAlpha = 1;
}

const runTop = (row, n) => BODY_TOP + 2 + Math.min(n, MOST_ROWS - 1) * row.rowTall;

function drawRuns(pen, seen, row, x) {
  const tall = row.rowTall - 2;
  pen.textAlign = "left";
  for (const run of row.device.runs) {
    if (run.from_us > shared.to) break;
    if (run.to_us < shared.from) continue;
    const left = x(run.from_us), wide = Math.max(1.5, x(run.to_us) - left), top = row.y + runTop(row, run.row);
    pen.fillStyle = taskColour(run.task);
    pen.beginPath();
    pen.roundRect(left, top, wide, tall, Math.min(3.5, wide / 2));
    pen.fill();
    const from = Math.max(left, seen.gutter), room = left + wide - from - 10;
    if (tall >= 11 && room > 26) {
      pen.font = `550 11px ${SANS}`;
      pen.fillStyle = dark.matches ? "#14171a" : "#fff";
      pen.fillText(fitted(pen, TASK_NAMES[run.task], room), from + 5, top + tall - 3);
    }
    seen.hits.push({ x: left, y: top, w: wide, h: tall, tip: () => [TASK_NAMES[run.task], `runs on ${row.device.name}`, `${moment(run.from_us)} to ${moment(run.to_us)}: ${span(run.to_us - run.from_us)}`, `epoch ${run.epoch}${run.branch ? `, branch ${run.branch}` : ""}; ${plain(RECORD.tasks[run.task].policy)}`] });
  }
}

function drawMoves(pen, seen, visible, scrolled, x) {
  if (!visible.length) return [];
  const low = visible[0].device.at, high = visible[visible.length - 1].device.at, slack = (shared.to - shared.from) / 50;
  const chosen = shared.device;
  const moves = [], hits = [];
  for (let n = upTo(MOVES, shared.from - slack, (move) => move.at_us); n < MOVES.length && MOVES[n].begin <= shared.to + slack; n += 1) {
    const move = MOVES[n];
    if (Math.max(move.from, move.to) >= low && Math.min(move.from, move.to) <= high) moves.push(move);
  }
  const faint = moves.length > 250;
  pen.lineWidth = faint ? 0.8 : 1.3;
  for (const move of moves) {
    const own = chosen === null || move.from === chosen || move.to === chosen;
    const [a, b] = [seen.rows[move.from], seen.rows[move.to]];
    const ax = x(move.begin), ay = a.top - scrolled + AXIS + runTop(a, move.fromRow) + a.rowTall / 2 - 1;
    const bx = x(move.at_us), by = b.top - scrolled + AXIS + runTop(b, move.toRow) + b.rowTall / 2 - 1;
    const down = by > ay ? 1 : -1;
    pen.globalAlpha = clamp(50 / moves.length, 0.14, 0.85) * (Math.min(move.from, move.to) >= low && Math.max(move.from, move.to) <= high ? 1 : 0.55) * (own ? 1 : 0.2);
    pen.strokeStyle = pen.fillStyle = colours.ink;
    if (move.reason === "failover") pen.setLineDash([4, 3]);
    pen.beginPath(); pen.moveTo(ax, ay); pen.bezierCurveTo(ax + 9, ay + down * 6, bx - 9, by - down * 12, bx, by - down * 3); pen.stroke();
    pen.setLineDash([]);
    if (!faint) { pen.beginPath(); pen.moveTo(bx, by); pen.lineTo(bx - 3.6, by - down * 6.5); pen.lineTo(bx + 3.2, by - down * 6); pen.fill(); }
    pen.globalAlpha = 1;
    hits.push({ x: bx - 3, y: by - 6, w: 6, h: 12, tip: () => [`${TASK_NAMES[move.task]} moves`, `${DEVICES[move.from].name} → ${DEVICES[move.to].name}`, `${plain(move.reason)}: ${plain(move.why)}`, `${moment(move.at_us)}, down for ${span(move.downtime_us)}`] });
  }
  return hits;
}

function drawMarksOf(pen, seen, marks, y, x) {
  const before = {};
  for (const event of marks) {
    if (event.at_us < shared.from || event.at_us > shared.to) continue;
    const left = Math.round(x(event.at_us));
    if (before[event.kind] !== undefined && left - before[event.kind] < 3) continue;
    before[event.kind] = left;
    pen.fillStyle = kindColour(event.kind);
    pen.strokeStyle = colours.card;
    pen.lineWidth = 1;
    pen.beginPath();
    if (event.kind === "fault") { pen.moveTo(left - 5, y); pen.lineTo(left + 5, y); pen.lineTo(left, y + 8.5); }
    else if (event.kind === "heal") { pen.moveTo(left - 4, y + 8); pen.lineTo(left + 4, y + 8); pen.lineTo(left, y + 0.5); }
    else if (event.kind === "violation") { pen.moveTo(left, y - 1.5); pen.lineTo(left + 6, y + 4.5); pen.lineTo(left, y + 10.5); pen.lineTo(left - 6, y + 4.5); }
    else pen.arc(left, y + 4.5, 3.6, 0, 7);
    pen.closePath();
    pen.fill();
    pen.stroke();
    seen.hits.push({ x: left - 5, y, w: 10, h: 9, tip: () => [`${event.kind}: ${event.text}`, deviceName(event.device), moment(event.at_us)] });
  }
}

function drawAxis(pen, seen) {
  const { width, height, gutter, ticks, x } = seen, right = width - 12;
  pen.fillStyle = colours.card;
  pen.fillRect(0, 0, width, AXIS - 1);
  pen.fillStyle = colours.line;
  pen.fillRect(0, AXIS - 1, width, 1);
  pen.font = `11px ${SANS}`;
  pen.textAlign = "center";
  pen.fillStyle = colours.faint;
  for (const tick of ticks) { const half = pen.measureText(tick.label).width / 2, middle = x(tick.at); if (middle - half > gutter - 4 && middle + half < width - 2) pen.fillText(tick.label, middle, 14); }
  pen.save();
  pen.beginPath(); pen.rect(gutter, 0, right - gutter + 8, AXIS); pen.clip();
  drawMarksOf(pen, seen, LOOSE_MARKS, AXIS - 14, x);
  pen.restore();
  const now = x(shared.time);
  if (now >= gutter - 1 && now <= right + 1) {
    pen.fillStyle = colours.accent;
    pen.fillRect(now - 0.75, 16, 1.5, height);
    const label = moment(shared.time);
    pen.font = `600 11px ${SANS}`;
    const wide = pen.measureText(label).width + 12, left = clamp(now - wide / 2, gutter, width - wide - 2);
    pen.beginPath(); pen.roundRect(left, 2, wide, 17, 5); pen.fill();
    pen.fillStyle = dark.matches ? colours.paper : "#fff";
    pen.fillText(label, left + wide / 2, 14.5);
  }
}
