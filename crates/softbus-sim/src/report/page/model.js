// What follows from the record: who is how, where and at what, at any time.

const DEVICES = RECORD.devices.map((device, at) => ({
  ...device, at, name: plain(device.name) || `device ${at}`, kind: plain(device.kind), runs: [], marks: [], rows: 1,
}));
const SEGMENTS = RECORD.segments.length ? RECORD.segments.map(plain) : DEVICES.length ? ["no segment"] : [];
const STATES = ["up", "asleep", "off", "lost"];

const at = (changes, time, otherwise) => { const n = upTo(changes, time, (change) => change[0]); return n ? changes[n - 1][1] : otherwise; };
const stateAt = (device, time) => at(device.states, time, "off");
const segmentAt = (device, time) => clamp(at(device.segments, time, device.segments[0]?.[1] ?? 0), 0, Math.max(0, SEGMENTS.length - 1));
const sampleAt = (device, time) => {
  if (!device.samples.length || !RECORD.sample_every_us) return null;
  return device.samples[clamp(Math.floor(time / RECORD.sample_every_us), 0, device.samples.length - 1)];
};
const deviceName = (at) => (at === null || at === undefined ? "" : DEVICES[at]?.name ?? `device ${at}`);

// Runs and moves of all tasks, in order.
const RUNS = [], MOVES = [];
RECORD.tasks.forEach((task, index) => {
  for (const run of task.runs) if (DEVICES[run.on]) RUNS.push({ ...run, task: index, row: 0 });
  for (const move of task.moves) if (DEVICES[move.from] && DEVICES[move.to]) MOVES.push({ ...move, task: index, begin: Math.max(0, move.at_us - move.downtime_us) });
});
RUNS.sort((a, b) => a.from_us - b.from_us || a.task - b.task);
MOVES.sort((a, b) => a.at_us - b.at_us || a.task - b.task);
const TASK_NAMES = RECORD.tasks.map((task, at) => plain(task.name) || `task ${at}`);

// Rows within a device's lane: a run takes the first row that is free.
for (const run of RUNS) {
  const device = DEVICES[run.on];
  const free = (device.free ??= []);
  let row = free.findIndex((until) => until <= run.from_us);
  if (row < 0) { row = free.length; free.push(0); }
  free[row] = Math.max(run.to_us, run.from_us + 1);
  run.row = row;
  device.rows = Math.max(device.rows, row + 1);
  device.runs.push(run);
}
// The row that a move leaves from and arrives at.
const rowOf = (device, task, time) => {
  const runs = DEVICES[device].runs;
  for (let n = upTo(runs, time, (run) => run.from_us) - 1; n >= 0; n -= 1) if (runs[n].task === task) return runs[n].row;
  return 0;
};
for (const move of MOVES) { move.fromRow = rowOf(move.from, move.task, move.begin); move.toRow = rowOf(move.to, move.task, move.at_us); }

// A move takes long enough to be seen, however short its downtime was, but not so long that the picture fills with them.
const TRANSIT = END * clamp(40 / Math.max(1, MOVES.length), 1 / 2000, 1 / 110);
for (const move of MOVES) move.seen = Math.max(0, Math.min(move.begin, move.at_us - TRANSIT));
const LONGEST_TRANSIT = MOVES.reduce((most, move) => Math.max(most, move.at_us - move.seen), 0);
// Several parts ask for the same time.
function remembered(find) {
  let last = NaN, found = null;
  return (time) => { if (time !== last) { last = time; found = find(time); } return found; };
}
const movingAt = remembered((time) => {
  const moving = [];
  for (let n = upTo(MOVES, time, (move) => move.at_us); n < MOVES.length && MOVES[n].at_us - LONGEST_TRANSIT <= time; n += 1) if (MOVES[n].seen <= time) moving.push(MOVES[n]);
  return moving;
});
// What lasts to the end is still there at the end.
const until = (span) => (span.to_us >= END ? Infinity : span.to_us);
const runsAt = remembered((time) => {
  const running = [];
  for (const run of RUNS) { if (run.from_us > time) break; if (until(run) > time) running.push(run); }
  return running;
});
const linksAt = remembered((time) => RECORD.links.filter((link) => link.from_us <= time && until(link) > time && DEVICES[link.a] && DEVICES[link.b]));

const EVENTS = RECORD.events.map((event, index) => ({ ...event, index, kind: plain(event.kind), text: plain(event.text) }));
const KINDS = [...new Set(EVENTS.map((event) => event.kind))].sort();
const KIND_COLOURS = new Map([["fault", "lost"], ["violation", "lost"], ["heal", "up"], ["person", "accent"], ["device", "asleep"]]);
const kindColour = (kind) => colours[KIND_COLOURS.get(kind) ?? "soft"];
// What lanes and the slider mark: what is not about tasks, which are there themselves.
const MARKS = EVENTS.filter((event) => event.kind !== "task");
const LOOSE_MARKS = MARKS.filter((event) => !DEVICES[event.device]);
for (const event of MARKS) DEVICES[event.device]?.marks.push(event);

// How many, over time: steps of [time, change] summed up.
function steps(changes) {
  changes.sort((a, b) => a[0] - b[0]);
  const summed = [[0, 0]];
  let now = 0;
  for (const [time, by] of changes) { now += by; if (summed[summed.length - 1][0] === time) summed[summed.length - 1][1] = now; else summed.push([time, now]); }
  return summed;
}
const UP = steps(DEVICES.flatMap((device) => device.states.map(([time, state], n) => [time, (state === "up" ? 1 : 0) - (n && device.states[n - 1][1] === "up" ? 1 : 0)])).filter(([, by]) => by));
const RUNNING = steps(RUNS.flatMap((run) => [[run.from_us, 1], [until(run), -1]]));
const LINKED = steps(RECORD.links.flatMap((link) => [[link.from_us, 1], [until(link), -1]]));
