// What is read and looked up: invariants, tasks, devices, faults, code paths, events. Long lists come in pages.

const PAGE = 50;

function tables() {
  invariantTable();
  taskTable();
  deviceTable();
  countTable("faults", SUMMARY.faults, "fault", "No faults were met.", "lost");
  countTable("paths", SUMMARY.paths, "place: what it said", "No place of the code said anything.", "accent");
  eventList();
}

const jump = (us) => h("button", { type: "button", class: "link", title: "Go to this time", onclick: () => setTime(us), text: moment(us) });
const cell = (child, kind) => h("td", { class: kind }, child);

function invariantTable() {
  if (!RECORD.invariants.length) { put("invariants", h("p", { class: "empty", text: RECORD.model === "reduced" ? "The reduced model checks no invariants." : "This run has no invariants." })); return; }
  const order = ["violated", "held", "not-looked-at"];
  const rows = [...RECORD.invariants].sort((a, b) => order.indexOf(a.verdict) - order.indexOf(b.verdict)).map((invariant) => {
    const bad = invariant.violations.length, verdict = { violated: ["bad", `violated ${count(bad)}×`], held: ["good", "held"] }[invariant.verdict] ?? ["warn", "not looked at"];
    const shown = invariant.violations.slice(0, 5).map((violation) => h("p", { class: "counter", dir: "auto" }, jump(violation.at_us), named(violation.text, 1500)));
    return h("tr", {}, cell(h("span", { class: `pill ${verdict[0]}`, text: verdict[1] })), h("td", {}, h("strong", {}, named(invariant.name, 120)), h("div", {}, h("span", { class: "hint" }, named(invariant.says, 400))), shown, bad > shown.length ? h("p", { class: "hint", text: `and ${count(bad - shown.length)} more` }) : null), cell(count(invariant.checked), "n"));
  });
  put("invariants", h("div", { class: "table" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { text: "verdict", scope: "col" }), h("th", { text: "invariant", scope: "col" }), h("th", { text: "times looked at", class: "n", scope: "col" }))), h("tbody", {}, rows))));
}

// A table that is searched, sorted and shown a page at a time. `columns`: { name, text, sort, cell, n }.
function listing({ id, items, columns, words, more, empty, noun: things, order = 0, down = false }) {
  if (!items.length) { put(id, h("p", { class: "empty", text: empty })); return; }
  const state = { order, down, shown: PAGE, search: "" };
  const body = h("tbody"), found = h("span", { class: "found", role: "status" }), rest = h("div", { class: "more" }, h("button", { type: "button", text: "Show more", onclick: () => { state.shown += PAGE * 4; draw(); } }));
  const heads = columns.map((column, at) => h("th", { class: column.n ? "n" : null, scope: "col" }, h("button", { type: "button", text: column.name, onclick: () => { state.down = state.order === at ? !state.down : Boolean(column.n); state.order = at; draw(); } })));
  const draw = () => {
    const key = columns[state.order].sort, part = state.search ? items.filter((item) => words(item).toLowerCase().includes(state.search)) : [...items];
    part.sort((a, b) => { const [x, y] = [key(a), key(b)]; return (x < y ? -1 : x > y ? 1 : 0) * (state.down ? -1 : 1); });
    heads.forEach((head, at) => { if (at === state.order) head.setAttribute("aria-sort", state.down ? "descending" : "ascending"); else head.removeAttribute("aria-sort"); });
    body.replaceChildren(...part.slice(0, state.shown).flatMap((item) => rowOfItem(item, columns, more)));
    found.textContent = part.length === items.length ? noun(items.length, things) : `${count(part.length)} of ${noun(items.length, things)}`;
    rest.hidden = part.length <= state.shown;
  };
  const search = items.length > 8 ? h("input", { type: "search", placeholder: "Search", "aria-label": `Search ${things}`, oninput: (event) => { state.search = event.target.value.toLowerCase(); state.shown = PAGE; draw(); } }) : null;
  put(id, h("div", { class: "filter" }, search, found), h("div", { class: "table scroll" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body)), rest);
  draw();
}

function rowOfItem(item, columns, more) {
  const row = h("tr", {}, columns.map((column) => cell(column.cell(item, () => {
    const open = row.classList.toggle("open");
    if (open) row.after(h("tr", { class: "sub" }, h("td", { colspan: columns.length }, more(item)))); else row.nextSibling.remove();
    return open;
  }), column.n ? "n" : null)));
  return [row];
}

function taskTable() {
  const good = new Map([["done", "good"], ["cancelled", "warn"], ["failed", "bad"], ["lost", "bad"]]);
  const when = (us) => (us === null ? "–" : jump(us));
  const name = (text, most = 60) => named(text, most);
  listing({
    id: "tasks", noun: "tasks", empty: "No task was submitted.", order: 3,
    items: RECORD.tasks.map((task, at) => ({ ...task, at })),
    words: (task) => [TASK_NAMES[task.at], deviceName(task.from), task.policy, task.state, ...task.moves.map((move) => move.reason)].join(" "),
    columns: [
      { name: "task", sort: (task) => TASK_NAMES[task.at], cell: (task) => h("span", { class: "swatched" }, h("span", { class: "dot square", vars: { "--c": taskColour(task.at) } }), name(task.name)) },
      { name: "by", sort: (task) => deviceName(task.from), cell: (task) => name(deviceName(task.from), 40) },
      { name: "decided by", sort: (task) => task.policy, cell: (task) => name(task.policy, 40) },
      { name: "submitted", sort: (task) => task.submitted_us, cell: (task) => when(task.submitted_us) },
      { name: "accepted after", n: true, sort: (task) => (task.accepted_us ?? Infinity) - task.submitted_us, cell: (task) => (task.accepted_us === null ? "–" : span(Math.max(0, task.accepted_us - task.submitted_us))) },
      { name: "done", sort: (task) => task.done_us ?? Infinity, cell: (task) => when(task.done_us) },
      { name: "state", sort: (task) => task.state, cell: (task) => h("span", { class: `pill ${good.get(task.state) ?? ""}`, dir: "auto", text: clip(plain(task.state), 40) || "–" }) },
      { name: "regret", n: true, sort: (task) => (task.placed ? task.placed.chosen_us / Math.max(1, task.placed.best_us) : 0), cell: (task) => (task.placed ? `${digits((Math.max(0, task.placed.chosen_us - task.placed.best_us) / Math.max(1, task.placed.best_us)) * 100)} %` : "–") },
      { name: "moves", n: true, sort: (task) => task.moves.length, cell: (task, toggle) => (task.moves.length ? h("button", { type: "button", class: "link", "aria-expanded": "false", text: `${task.moves.length} ▾`, title: "Show its moves", onclick: (event) => event.currentTarget.setAttribute("aria-expanded", String(toggle())) }) : "0") },
    ],
    more: (task) => h("ol", { class: "moves" }, task.moves.map((move) => h("li", {}, jump(move.at_us), h("div", {}, named(deviceName(move.from), 40), " → ", named(deviceName(move.to), 40), "  ", h("span", { class: "pill", text: clip(plain(move.reason), 30) }), ` down for ${span(move.downtime_us)}`, h("div", { class: "hint" }, named(move.why, 400)))))),
  });
}

function deviceTable() {
  const most = (part) => DEVICES.reduce((most, device) => Math.max(most, part(device)), 0) || 1;
  const parts = [
    ["energy", "battery", (device) => device.energy_j ?? 0, (v) => words(joulesOf(v))],
    ["sent", "accent", (device) => device.bytes[0], (v) => words(bytesOf(v))],
    ["received", "asleep", (device) => device.bytes[1], (v) => words(bytesOf(v))],
  ].map(([name, colour, part, figure]) => {
    const top = most(part);
    return { name, sort: part, meter: true, cell: (device) => h("div", { class: "meter", vars: { "--c": `var(--${colour})`, "--w": `${(part(device) / top) * 100}%` } }, h("i"), h("span", { text: figure(part(device)) })) };
  });
  listing({
    id: "devices", noun: "devices", empty: "No devices.", order: 2, down: true, items: DEVICES, words: (device) => `${device.name} ${device.kind} ${device.id}`,
    columns: [
      { name: "device", sort: (device) => device.name, cell: (device) => h("span", { class: "swatched" }, named(device.name, 48)) },
      { name: "kind", sort: (device) => device.kind, cell: (device) => named(device.kind, 24) },
      ...parts,
      { name: "tasks ran", n: true, sort: (device) => device.runs.length, cell: (device) => count(new Set(device.runs.map((run) => run.task)).size) },
    ],
  });
}

function countTable(id, counts, noun, empty, colour) {
  const list = Object.entries(counts).map(([name, n]) => ({ name, n })).sort((a, b) => b.n - a.n), top = list[0]?.n || 1;
  listing({
    id, noun: id, empty, items: list, order: 1, down: true, words: (item) => item.name,
    columns: [
      { name: noun, sort: (item) => item.name, cell: (item) => named(item.name, 200) },
      { name: "times", sort: (item) => item.n, cell: (item) => h("div", { class: "meter", vars: { "--c": `var(--${colour})`, "--w": `${(item.n / top) * 100}%` } }, h("i"), h("span", { text: count(item.n) })) },
    ],
  });
}

function eventList() {
  if (!EVENTS.length) { put("events", h("p", { class: "empty", text: "Nothing happened." })); return; }
  const off = new Set(), state = { search: "", shown: PAGE * 2 };
  const body = h("tbody"), found = h("span", { class: "found", role: "status" }), rest = h("div", { class: "more" }, h("button", { type: "button", text: "Show more", onclick: () => { state.shown += PAGE * 4; draw(); } }));
  const chips = KINDS.map((kind) => h("button", { type: "button", class: "chip", "aria-pressed": "true", onclick: (event) => { if (off.delete(kind)) event.currentTarget.setAttribute("aria-pressed", "true"); else { off.add(kind); event.currentTarget.setAttribute("aria-pressed", "false"); } draw(); } }, clip(kind, 30) || "other", h("small", { text: count(EVENTS.filter((event) => event.kind === kind).length) })));
  const draw = () => {
    const part = EVENTS.filter((event) => !off.has(event.kind) && (!state.search || `${event.text} ${deviceName(event.device)}`.toLowerCase().includes(state.search)));
    body.replaceChildren(...part.slice(0, state.shown).map((event) => h("tr", {}, cell(jump(event.at_us)), cell(h("span", {}, h("span", { class: "dot", vars: { "--c": `var(--${KIND_COLOURS.get(event.kind) ?? "soft"})`, display: "inline-block", "margin-right": "7px" } }), clip(event.kind, 30))), cell(named(deviceName(event.device), 40)), cell(h("span", { dir: "auto" }, named(event.text, 600))))));
    found.textContent = `${count(part.length)} of ${count(EVENTS.length)}`;
    rest.hidden = part.length <= state.shown;
  };
  const search = h("input", { type: "search", placeholder: "Search", "aria-label": "Search events", oninput: (event) => { state.search = event.target.value.toLowerCase(); state.shown = PAGE * 2; draw(); } });
  put("events", h("div", { class: "filter", role: "group", "aria-label": "Kinds of events shown" }, chips, search, found), h("div", { class: "table scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["time", "kind", "device", "what"].map((name) => h("th", { text: name, scope: "col" })))), body)), rest);
  draw();
}
