// What all parts use: the record, elements, figures as people read them, and what is shared: time, view, selection.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const RECORD = read("record");
const NOTES = read("notes");
const SUMMARY = RECORD.summary;
const END = Math.max(1, RECORD.duration_us);
const SVG = document.getElementById("ns").namespaceURI;
const $ = (id) => document.getElementById(id);

// Names are foreign text: they become text nodes, never markup, and signs that steer writing are shown as such.
const plain = (text) => String(text ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g, (c) => (c === "\n" || c === "\t" || c === "\r" ? " " : "\ufffd"));

function fillNode(node, props, children) {
  for (const [key, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key === "vars") for (const [name, v] of Object.entries(value)) node.style.setProperty(name, v);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}
const h = (tag, props, ...children) => fillNode(document.createElement(tag), props, children);
const s = (tag, props, ...children) => fillNode(document.createElementNS(SVG, tag), props, children);
const named = (text, most = 400) => h("bdi", { class: "word", text: clip(plain(text), most), title: plain(text).length > most ? clip(plain(text), 2000) : null });
const clip = (text, most) => { const signs = Array.from(text); return signs.length > most ? signs.slice(0, most - 1).join("") + "…" : text; };
const put = (id, ...nodes) => $(id).replaceChildren(...nodes.flat(Infinity).filter(Boolean));

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
// How many of a sorted list are at or below `value`.
function upTo(list, value, key = (x) => x) {
  let low = 0, high = list.length;
  while (low < high) { const mid = (low + high) >> 1; if (key(list[mid]) <= value) low = mid + 1; else high = mid; }
  return low;
}

// Figures.
const pad2 = (n) => String(n).padStart(2, "0");
const count = (n) => Math.round(n).toString().replace(/\B(?=(\d{3})+$)/g, "\u202f");
const digits = (v) => (!Number.isFinite(v) ? "–" : Math.abs(v) >= 99.95 ? count(v) : Math.abs(v) >= 9.995 ? v.toFixed(1) : v === 0 ? "0" : v.toFixed(2));
function scaled(value, units) {
  let unit = 0;
  while (value >= 999.5 && unit + 1 < units.length) { value /= 1000; unit += 1; }
  return [Number.isInteger(value) ? String(value) : digits(value), units[unit]];
}
const bytesOf = (v) => scaled(v, ["B", "kB", "MB", "GB", "TB", "PB"]);
const joulesOf = (v) => scaled(v ?? 0, ["J", "kJ", "MJ", "GJ"]);
const words = ([value, unit]) => `${value}\u202f${unit}`;
function spanOf(us) {
  if (us < 1e3) return [String(Math.round(us)), "µs"];
  if (us < 1e6) return [digits(us / 1e3), "ms"];
  if (us < 6e7) return [digits(us / 1e6), "s"];
  if (us < 3.6e9) return [`${Math.floor(us / 6e7)}:${pad2(Math.floor(us / 1e6) % 60)}`, "min"];
  if (us < 1.728e11) return [`${Math.floor(us / 3.6e9)}:${pad2(Math.floor(us / 6e7) % 60)}`, "h"];
  return [digits(us / 8.64e10), "d"];
}
const span = (us) => words(spanOf(us));
// A moment, as exact as the run is short.
function moment(us, exact = END < 6e8) {
  const ms = Math.floor(us / 1000), all = Math.floor(ms / 1000), hours = Math.floor(all / 3600);
  const day = hours >= 48 ? `${Math.floor(hours / 24)}d ` : "";
  const head = END >= 3.6e9 || hours ? `${day}${day ? pad2(hours % 24) : hours}:${pad2(Math.floor(all / 60) % 60)}` : `${Math.floor(all / 60)}`;
  return `${head}:${pad2(all % 60)}${exact ? "." + String(ms % 1000).padStart(3, "0") : ""}`;
}
const STEPS = [1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 1.5e7, 3e7, 6e7, 1.2e8, 3e8, 6e8, 9e8, 1.8e9, 3.6e9, 7.2e9, 1.08e10, 2.16e10, 4.32e10, 8.64e10, 1.728e11, 6.048e11, 2.592e12];
function timeTicks(from, to, most) {
  const step = STEPS.find((step) => (to - from) / step <= most) ?? to - from + 1;
  const ticks = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push({ at, label: moment(at, step < 1e6) });
  return ticks;
}
function niceTop(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((n) => n * power).find((n) => n >= value * 0.999) ?? value;
}
// The same for what is counted: half of it is a whole number, too.
const evenTop = (value) => { const top = niceTop(value); return top < 10 ? Math.max(2, 2 * Math.ceil(top / 2)) : top; };
const noun = (n, plural) => `${count(n)} ${n === 1 ? plural.replace(/s$/, "") : plural}`;

// What is shared. Parts are told at most once per frame.
const shared = { time: 0, from: 0, to: END, device: null };
const listeners = new Map();
const dirty = new Set();
function on(what, listener) { if (!listeners.has(what)) listeners.set(what, []); listeners.get(what).push(listener); }
function tell(what) {
  if (dirty.size === 0) requestAnimationFrame(() => {
    const told = new Set([...dirty].flatMap((what) => listeners.get(what) ?? []));
    dirty.clear();
    for (const listener of told) listener();
  });
  dirty.add(what);
}
function setTime(us) { shared.time = clamp(Math.round(us), 0, END); follow(); tell("time"); }
function setView(from, to) {
  const length = clamp(to - from, Math.min(END, 20_000), END);
  shared.from = clamp(from, 0, END - length);
  shared.to = shared.from + length;
  tell("view");
}
// A view of a part goes along with the time.
function follow() {
  const length = shared.to - shared.from;
  if (length < END && (shared.time < shared.from || shared.time > shared.to)) setView(shared.time - length * 0.15, shared.time + length * 0.85);
}
function select(device) { shared.device = shared.device === device ? null : device; tell("select"); }

// Colours, read from the style sheet anew when the scheme changes.
const colours = {};
const dark = matchMedia("(prefers-color-scheme: dark)");
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "card", "sunk", "ink", "soft", "faint", "line", "accent", "up", "asleep", "off", "lost", "warn", "battery"]) colours[name] = style.getPropertyValue(`--${name}`).trim();
}
readColours();
dark.addEventListener("change", () => { readColours(); for (const what of listeners.keys()) tell(what); });
// Tasks: hues as far from each other as may be, by the golden angle.
const taskColour = (task) => `oklch(${dark.matches ? "0.74 0.13" : "0.62 0.15"} ${((task * 137.508 + 40) % 360).toFixed(1)})`;
const segmentColour = (segment, alpha) => `oklch(${dark.matches ? "0.6 0.06" : "0.7 0.07"} ${((segment * 99 + 235) % 360).toFixed(0)} / ${alpha})`;

function sizeCanvas(canvas, width, height) {
  const ratio = Math.min(devicePixelRatio || 1, 3);
  const [w, t] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== t) { canvas.width = w; canvas.height = t; canvas.style.height = `${height}px`; }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return pen;
}
const SANS = getComputedStyle(document.body).fontFamily;
const widths = new Map();
// Text cut to a width, remembered.
function fitted(pen, text, width) {
  const key = `${pen.font}|${Math.round(width)}|${text}`;
  if (widths.has(key)) return widths.get(key);
  let cut = clip(text, 120);
  if (pen.measureText(cut).width > width) {
    const signs = Array.from(cut);
    let low = 0, high = signs.length;
    while (low < high) { const mid = (low + high + 1) >> 1; if (pen.measureText(signs.slice(0, mid).join("") + "…").width <= width) low = mid; else high = mid - 1; }
    cut = low > 1 ? signs.slice(0, low).join("") + "…" : "";
  }
  if (widths.size > 20_000) widths.clear();
  widths.set(key, cut);
  return cut;
}

function showTip(event, title, ...lines) {
  const tip = $("tip");
  tip.replaceChildren(h("b", { text: clip(plain(title), 120), dir: "auto" }), ...lines.filter(Boolean).map((line) => h("div", { text: clip(plain(line), 300), dir: "auto" })));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${clamp(event.clientX + 14, 8, innerWidth - width - 8)}px`;
  tip.style.top = `${event.clientY + 18 + height > innerHeight - 80 ? event.clientY - height - 12 : event.clientY + 18}px`;
}
const hideTip = () => { $("tip").hidden = true; };
