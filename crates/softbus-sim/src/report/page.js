// The head, the cards, and the start of all parts.

const REDUCED = RECORD.model === "reduced";

function head() {
  document.title = `${clip(plain(RECORD.scenario), 60) || "run"} · softbus simulation`;
  put("scenario", named(RECORD.scenario || "(no name)", 200));
  put("about", named(RECORD.about, 1000));
  const [violated, held, left] = ["violated", "held", "not-looked-at"].map((verdict) => RECORD.invariants.filter((invariant) => invariant.verdict === verdict));
  const looks = RECORD.invariants.reduce((sum, invariant) => sum + invariant.checked, 0);
  const all = RECORD.invariants.length, names = (some) => some.slice(0, 3).map((invariant) => plain(invariant.name)).join(", ") + (some.length > 3 ? " …" : "");
  const badges = [];
  if (violated.length) badges.push(badge("bad", "M9 9l12 12M21 9L9 21", `${violated.length} of ${all} invariants violated`, names(violated)));
  else if (held.length) badges.push(badge("good", "M8 15.5l5 5L22.5 10", held.length < all ? `${held.length} of ${all} invariants held` : all === 1 ? "The invariant held" : `All ${all} invariants held`, `looked at ${noun(looks, "times")}`));
  if (left.length && left.length < all) badges.push(badge("warn", "M15 8v9M15 21.5v.5", `${left.length} not looked at`, names(left)));
  else if (left.length || !all) badges.push(badge("warn", "M15 8v9M15 21.5v.5", "No invariant was looked at", REDUCED ? "The reduced model checks none" : "This run says nothing of them"));
  if (REDUCED) badges.push(badge("warn", "M7 15h16M15 7v16", "Reduced model", ["The library's decisions over modelled links, disks and cores", ...RECORD.caveats.map(plain)].join("; ")));
  if (RECORD.crypto === "null" && !REDUCED) badges.push(badge("warn", "M10 14v-3a5 5 0 0 1 9.6-2M9 14h12v8H9z", "Null crypto", "Packets are framed, not sealed"));
  put("verdict", badges);
  const meta = [
    ["seed", NOTES.seed], ["version", plain(RECORD.version) || "–"], ["crypto", REDUCED ? "none" : RECORD.crypto === "null" ? "null" : "TLS 1.3"],
    ["virtual time", span(RECORD.duration_us)], ["trace", plain(RECORD.trace_hash) || "–"],
  ];
  put("meta", meta.map(([term, value]) => h("div", {}, h("dt", { text: term }), h("dd", { text: value }))));
}

function badge(sort, path, title, more) {
  return h("div", { class: `badge ${sort}` },
    s("svg", { viewBox: "0 0 30 30", "aria-hidden": "true", fill: "none", stroke: "currentColor", "stroke-width": 2.4, "stroke-linecap": "round", "stroke-linejoin": "round" }, s("circle", { cx: 15, cy: 15, r: 13.5, "stroke-width": 1.6, opacity: 0.45 }), s("path", { d: path })),
    h("div", {}, h("strong", { text: title }), h("span", { class: "word", text: clip(more, 160) })));
}

function cards() {
  const fact = (title, [value, unit], more) => h("div", { class: "fact" }, h("h3", { text: title }), h("p", {}, value, unit ? h("small", { text: unit }) : null), h("span", { class: "under", text: more ?? "" }));
  const spread = (title, spread, figure) => (spread.count ? fact(title, figure(spread.p50), `p99 ${words(figure(spread.p99))} · of ${count(spread.count)}`) : fact(title, ["–"], "none"));
  const percent = (permille) => [digits(permille / 10), "%"];
  const devices = Math.max(1, DEVICES.length);
  const ended = STATES.map((state) => [DEVICES.filter((device) => stateAt(device, END) === state).length, state]).filter(([n]) => n);
  const done = RECORD.tasks.filter((task) => task.done_us !== null).length;
  const lost = RECORD.traffic.reduce((sum, traffic) => sum + traffic.lost, 0);
  const datagrams = SUMMARY.datagrams < 1e4 ? count(SUMMARY.datagrams) : words(scaled(SUMMARY.datagrams, ["", "k", "M", "G"]));
  const faults = Object.values(SUMMARY.faults).reduce((sum, n) => sum + n, 0);
  const rest = Object.entries(SUMMARY.tasks).filter(([state]) => state !== "done").map(([state, n]) => `${count(n)} ${clip(plain(state), 24)}`).slice(0, 3).join(", ");
  put("cards", [
    fact("Devices", [count(DEVICES.length)], ended.length ? `at the end ${ended.map(([n, state]) => `${count(n)} ${state}`).join(", ")}` : "none"),
    fact("Tasks done", [count(done), `of ${count(RECORD.tasks.length)}`], rest || (RECORD.tasks.length ? "all" : "none")),
    fact("Moves", [count(MOVES.length)], `${count(SUMMARY.handover_us.count)} ordered, ${count(SUMMARY.failover_us.count)} fail-overs`),
    spread("Hand-over, p50", SUMMARY.handover_us, spanOf),
    spread("Fail-over, p50", SUMMARY.failover_us, spanOf),
    spread("Discovery, p50", SUMMARY.discovery_us, spanOf),
    spread("Presence, p50", SUMMARY.presence_us, spanOf),
    spread("Placement regret, p50", SUMMARY.regret_permille, percent),
    fact("Faults met", [count(faults)], `of ${noun(Object.keys(SUMMARY.faults).length, "sorts")}`),
    fact("Bytes sent", bytesOf(SUMMARY.bytes), `${words(bytesOf(SUMMARY.bytes / devices))} per device; ${datagrams} ${REDUCED ? "messages" : "datagrams"}, ${digits((lost / Math.max(1, SUMMARY.datagrams)) * 100)}\u202f% lost`),
    fact("Energy", joulesOf(SUMMARY.energy_j), `${words(joulesOf(SUMMARY.energy_j / devices))} per device`),
    SUMMARY.real_s > 0 && fact("Speed", [digits(END / 1e6 / SUMMARY.real_s), "×"], `${digits(SUMMARY.real_s)} s real, ${words(bytesOf(SUMMARY.memory_bytes))} of memory`),
  ].filter(Boolean));
  if (NOTES.left_out.length) {
    $("left-out").hidden = false;
    $("left-out").textContent = `To stay small, this page holds ${NOTES.left_out.map((part) => `${count(part.kept)} of ${count(part.of)} ${part.what}`).join(", ")}. Summaries are of all.`;
  }
}

head();
cards();
document.querySelector("main").hidden = false;
$("transport").hidden = false;
const parts = { transport, topology, lanes, charts, spreads, tables };
for (const [name, start] of Object.entries(parts)) {
  try { start(); } catch (error) { console.error(name, error); }
}
const begin = Number(new URLSearchParams(location.hash.slice(1)).get("t"));
setTime(Number.isFinite(begin) && begin > 0 ? begin * 1e6 : END * 0.35);
tell("view");
tell("select");
let resizing = 0;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => { for (const what of listeners.keys()) tell(what); tell("resize"); }, 60); });
