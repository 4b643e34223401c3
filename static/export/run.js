// The whole of an exported run: stand at any event and see what was known then. Nothing is loaded, nothing is sent.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const run = data.run;
const last = data.events.length;
const SHOWN = 300; // events that the list holds at a time
const part = (id) => document.getElementById(id);
const seconds = (time) => (time === null || time === undefined ? null : Date.parse(time) / 1000);

function made(tag, words, kind) {
  const element = document.createElement(tag);
  if (words !== undefined) element.textContent = words;
  if (kind) element.className = kind;
  return element;
}

function drawn(tag, values) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
  return element;
}

const span = (length) => {
  if (length < 1) return `${Math.round(length * 1000)} ms`;
  if (length < 60) return `${length.toFixed(1)} s`;
  const whole = Math.round(length);
  const hours = Math.floor(whole / 3600);
  const rest = `${Math.floor((whole % 3600) / 60)} min ${whole % 60} s`;
  return hours ? `${hours} h ${rest}` : rest;
};

// What was known after `place` events: the steps up to there, one over the other.
function known(place) {
  const tasks = new Map();
  for (let n = 0; n <= place; n += 1) {
    for (const [key, status, attempts] of data.steps[n]) {
      if (status === null) tasks.delete(key);
      else tasks.set(key, { status, attempts });
    }
  }
  return tasks;
}

const timeOf = (event) => event[3] ?? event[4];
const times = data.steps.flat().flatMap((change) => change[2].flatMap((one) => [one[0], one[1]])).filter((time) => time !== null);
for (const event of data.events) times.push(timeOf(event));
const ends = times.concat([seconds(run.started_at), seconds(run.finished_at)].filter((time) => time !== null));
const start = ends.reduce((a, b) => Math.min(a, b), Infinity);
const length = Math.max(0.001, ends.reduce((a, b) => Math.max(a, b), -Infinity) - start);

const rows = new Map();
for (const task of data.tasks) {
  const row = made("li");
  const name = made("span", task.name, "name");
  name.title = [task.name, task.tag, task.function].filter(Boolean).join(" · ");
  const status = made("span");
  const bar = drawn("svg", { viewBox: `0 0 ${length} 16`, preserveAspectRatio: "none", "aria-hidden": "true" });
  row.append(name, status, bar);
  part("tasks").append(row);
  rows.set(task.key, { row, status, bar });
}

function bars(attempts, place, now) {
  const shapes = [];
  for (const [after, from, to] of data.gaps) {
    if (after > place) continue;
    const x = Math.max(0, (from ?? start) - start);
    const width = Math.min(length, (to ?? start + length) - start) - x;
    if (width > 0) shapes.push(drawn("rect", { x, width, y: 0, height: 16, class: "gap" }));
  }
  for (const [from, to, status] of attempts) {
    const x = (from ?? to ?? now) - start;
    const width = Math.max((to ?? now) - start - x, length / 400);
    shapes.push(drawn("rect", { x, width, y: 2, height: 12, class: `s-${status}` }));
  }
  return shapes;
}

const details = new Map(); // seq -> its row, so that what stands open stays open
function eventRow(event) {
  const [seq, type, task, , , payload] = event;
  if (details.has(seq)) return details.get(seq);
  const row = made("li");
  const box = made("details");
  const head = made("summary");
  head.append(made("span", `#${seq}`, "muted"), made("span", `+${span(Math.max(0, timeOf(event) - start))}`, "muted"), made("span", type), made("span", task, "task"));
  box.append(head);
  box.addEventListener("toggle", () => {
    if (box.open && !box.querySelector("pre")) {
      const text = made("pre", payload ?? "Left out of this file for its size; an export as ndjson has it.");
      text.tabIndex = 0; // it scrolls
      text.setAttribute("role", "group");
      text.setAttribute("aria-label", `Payload of event ${seq}`);
      box.append(text);
    }
  });
  row.append(box);
  details.set(seq, row);
  return row;
}

function show(place) {
  const event = data.events[place - 1];
  const now = place === last && run.finished_at ? start + length : event ? timeOf(event) : start;
  const tasks = known(place);
  const tally = {};
  for (const [key, { row, status, bar }] of rows) {
    const task = tasks.get(key);
    row.hidden = !task;
    if (!task) continue;
    tally[task.status] = (tally[task.status] ?? 0) + 1;
    status.textContent = task.status;
    status.className = `s-${task.status}`;
    row.dataset.status = task.status;
    bar.replaceChildren(...bars(task.attempts, place, now));
  }
  part("tally").textContent = Object.entries(tally).map(([status, count]) => `${count} ${status}`).join(" · ");
  part("events").replaceChildren(...data.events.slice(Math.max(0, place - SHOWN), place).reverse().map(eventRow));
  const outcome = place === last && !data.left_out ? run.status : place ? data.outcomes[place] : "queued";
  part("where").textContent = `${place} of ${last} · +${span(Math.max(0, now - start))} · ${outcome}`;
  part("where").className = `s-${outcome}`;
  part("place").value = place;
}

let playing = null;
function play(on) {
  clearInterval(playing);
  playing = null;
  part("play").textContent = on ? "Pause" : "Play";
  part("play").setAttribute("aria-pressed", String(on));
  if (!on) return;
  if (Number(part("place").value) === last) show(0);
  const step = Math.max(1, Math.round(last / 300));
  playing = setInterval(() => {
    const place = Math.min(last, Number(part("place").value) + step);
    show(place);
    if (place === last) play(false);
  }, 60);
}

part("place").max = last;
part("place").addEventListener("input", () => { play(false); show(Number(part("place").value)); });
part("back").addEventListener("click", () => { play(false); show(Math.max(0, Number(part("place").value) - 1)); });
part("on").addEventListener("click", () => { play(false); show(Math.min(last, Number(part("place").value) + 1)); });
part("play").addEventListener("click", () => play(!playing));
part("travel").addEventListener("submit", (sent) => sent.preventDefault());

const shown = (time) => (time === null ? null : `${time.slice(0, 10)} ${time.slice(11, 19)} UTC`);
const facts = [
  ["Status", run.status], ["Upstream", run.upstream], ["Started", shown(run.started_at)], ["Finished", shown(run.finished_at)],
  ["Took", run.execution_time === null ? null : span(run.execution_time)], ["Events", run.last_seq],
  ["Gaps", run.gaps || null], ["Rejected frames", run.rejected || null], ["Started by", run.created_by],
];
for (const [name, value] of facts) {
  if (value === null) continue;
  const pair = made("div");
  pair.append(made("dt", name), made("dd", String(value), name === "Status" ? `s-${run.status}` : ""));
  part("facts").append(pair);
}
if (run.error) {
  part("error").textContent = `${run.error.type}: ${run.error.message}`;
  part("error").hidden = false;
}
if (data.left_out) {
  part("left-out").textContent = `The run has ${data.left_out} more events, which this file has no room for.`;
  part("left-out").hidden = false;
}
show(last);
