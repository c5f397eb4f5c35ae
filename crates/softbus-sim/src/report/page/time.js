// The slider at the foot of the window: all parts show the time that it shows.

// A pass over the whole run takes this long at speed 1.
const PASS_S = 40;

function transport() {
  const slider = $("slider");
  slider.max = END;
  slider.step = Math.max(1, Math.round(END / 2000));
  slider.addEventListener("input", () => setTime(Number(slider.value)));
  let playing = 0, last = 0;
  const frame = (now) => {
    if (!playing) return;
    const passed = Math.min(100, now - last);
    last = now;
    const length = shared.to - shared.from;
    setTime(shared.time + (passed / 1000 / PASS_S) * Number($("speed").value) * length);
    if (shared.time >= END) return play(false);
    playing = requestAnimationFrame(frame);
  };
  const play = (yes) => {
    cancelAnimationFrame(playing);
    if (yes && shared.time >= END) setTime(0);
    last = performance.now();
    playing = yes ? requestAnimationFrame(frame) : 0;
    $("play").setAttribute("aria-label", yes ? "Pause" : "Play");
    $("play-shape").setAttribute("d", yes ? "M3.5 2h3.2v12H3.5zM9.3 2h3.2v12H9.3z" : "M4.5 1.6v12.8L14.5 8z");
  };
  play(false);
  $("play").addEventListener("click", () => play(!playing));

  const times = [...new Set([...EVENTS.map((event) => event.at_us), ...MOVES.map((move) => move.at_us)])].sort((a, b) => a - b);
  $("back").addEventListener("click", () => setTime(times[upTo(times, shared.time - 1) - 1] ?? 0));
  $("on").addEventListener("click", () => setTime(times[upTo(times, shared.time)] ?? END));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, button, [tabindex]")) return;
    if (event.key === " ") { event.preventDefault(); play(!playing); }
    else if (event.key === "ArrowLeft") $("back").click();
    else if (event.key === "ArrowRight") $("on").click();
  });

  const clocks = document.querySelectorAll(".clock");
  const show = () => {
    slider.value = shared.time;
    slider.style.setProperty("--at", `${(shared.time / END) * 100}%`);
    const now = moment(shared.time);
    slider.setAttribute("aria-valuetext", `${now} of ${moment(END)}`);
    $("clock").textContent = now;
    for (const clock of clocks) clock.textContent = `at ${now}`;
  };
  on("time", show);
  const marks = () => drawMarks($("ticks"));
  on("view", marks);
  on("resize", marks);
}

// Moves as a skyline, faults and violations as marks above it, and the part that lanes and charts show.
function drawMarks(canvas) {
  const width = canvas.parentNode.clientWidth, height = 16, inset = 8;
  const pen = sizeCanvas(canvas, width, height);
  const x = (us) => inset + (us / END) * (width - 2 * inset);
  const bins = new Uint32Array(Math.max(1, Math.ceil(width / 3)));
  for (const move of MOVES) bins[Math.min(bins.length - 1, Math.floor(x(move.at_us) / 3))] += 1;
  const most = bins.reduce((most, n) => Math.max(most, n), 1);
  pen.fillStyle = colours.faint;
  pen.globalAlpha = 0.55;
  bins.forEach((n, bin) => { if (n) { const tall = 3 + (n / most) * 9; pen.fillRect(bin * 3, height - tall, 2, tall); } });
  pen.globalAlpha = 1;
  let before = {};
  for (const event of MARKS) {
    if (event.kind !== "fault" && event.kind !== "violation") continue;
    const left = Math.round(x(event.at_us));
    if (before[event.kind] === left) continue;
    before[event.kind] = left;
    pen.fillStyle = kindColour(event.kind);
    if (event.kind === "violation") pen.fillRect(left - 1.5, 0, 3, height);
    else { pen.globalAlpha = 0.75; pen.fillRect(left - 0.75, 0, 1.5, 5); pen.globalAlpha = 1; }
  }
  if (shared.to - shared.from < END) {
    pen.strokeStyle = colours.accent;
    pen.fillStyle = colours.accent;
    pen.globalAlpha = 0.14;
    pen.fillRect(x(shared.from), 0, Math.max(2, x(shared.to) - x(shared.from)), height);
    pen.globalAlpha = 1;
  }
}
