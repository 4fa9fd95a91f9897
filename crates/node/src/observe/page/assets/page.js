"use strict";
// Draws views of the API (docs/reference/page-api.md). All text goes in as text: names are the programs' own.

const COLOURS = 6;
const find = (id) => document.getElementById(id);

/** An element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const letter = (number) => (number < 0 ? "-" : number < 36 ? number.toString(36) : "*");
const colour = (number) => (number < 0 ? "none" : `node${number % COLOURS}`);
const known = (value, text) => (value === null || value === undefined ? "–" : text(value));
const percent = (share) => `${Math.round(share * 100)} %`;
const micros = (us) => (us >= 1000 ? `${(us / 1000).toFixed(1)} ms` : `${Math.round(us)} µs`);
const clock = (at) => new Date(at * 1000).toLocaleTimeString();
const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const hex = (address) => `0x${address.toString(16)}`;

function number(value) {
  for (const [least, unit] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (value >= least) return `${(value / least).toPrecision(3)}${unit}`;
  }
  return value < 10 && value % 1 ? value.toFixed(1) : Math.round(value).toString();
}

function bytes(value) {
  for (const [power, unit] of [[4, "TiB"], [3, "GiB"], [2, "MiB"], [1, "KiB"]]) {
    const scaled = value / 1024 ** power;
    if (scaled >= 1) return `${scaled >= 100 ? Math.round(scaled) : scaled.toPrecision(2)} ${unit}`;
  }
  return `${Math.round(value)} B`;
}

/** Replaces what is in an element only if it has changed, so that focus, selection and readers stay. */
const drawn = new WeakMap();
function fill(element, value, draw) {
  const text = JSON.stringify(value);
  if (drawn.get(element) === text) return;
  drawn.set(element, text);
  element.replaceChildren(...draw());
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function badge(nodes, name) {
  const at = nodes.findIndex((node) => node.node === name);
  return make("span", { class: `badge ${colour(at)}`, "aria-hidden": "true" }, letter(at));
}

function facts(pairs) {
  return make("dl", {}, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function cells(values) {
  return values.map(([text, kind]) => make("td", kind ? { class: kind } : {}, text));
}

function drawHead(view) {
  const { nodes, nodes_up: up, cpus, memory_bytes: memory, jobs, threads } = view.total;
  setText(find("facts"), `${up === nodes ? "" : `${up} of `}${count(nodes, "node")}, ${count(cpus, "processor")}, ` +
    `${bytes(memory)} of memory, ${count(jobs, "program")}, ${count(threads, "thread")}`);
  setText(find("time"), clock(view.at_s));
  const [first, ...rest] = view.advice;
  const truth = find("truth");
  truth.className = first ? first.level : "";
  const marks = { good: "✓ ", caution: "⚠ ", bad: "✗ " };
  setText(truth, first ? `${marks[first.level] ?? ""}${first.text}` : "Looking …");
  const more = rest.map((line) => line.text).concat(view.missing.map((line) => `Not shown: ${line}.`));
  const advice = find("advice");
  advice.hidden = more.length === 0;
  const list = advice.querySelector("ul");
  fill(list, more, () => more.map((line) => make("li", {}, line)));
}

function drawNodes(view) {
  const list = find("nodes");
  fill(list, view.nodes, () => view.nodes.map((node, at) => {
    const used = node.memory_bytes && node.available_bytes !== null
      ? 1 - node.available_bytes / node.memory_bytes : null;
    const item = make("li", { class: `${colour(at)} ${node.state === "up" ? "" : "silent"}` },
      make("h3", {}, badge(view.nodes, node.node), node.node, node.state === "up" ? "" : ` (${node.state})`));
    item.dataset.node = node.node;
    const meter = (share, name) => make("meter", { value: share ?? 0, "aria-label": name });
    item.append(facts([
      ["Processors", `${known(node.busy_share, percent)} of ${known(node.cpus, String)}`],
      ["", meter(node.busy_share, "busy")],
      ["Memory", `${known(used, percent)} of ${known(node.memory_bytes, bytes)}`],
      ["", meter(used, "memory used")],
      ["Load", known(node.load_1m, (load) => load.toFixed(1))],
      ["Faults", `${known(node.faults_per_s, number)} /s`],
      ["Daemon", `${known(node.daemon_share, percent)} of one`],
    ]));
    return item;
  }));
  drawLines(view);
}

/** Links as lines between the tiles: thicker with traffic, and the figures beside them. */
function drawLines(view) {
  const svg = find("lines");
  const frame = svg.getBoundingClientRect();
  const tiles = new Map([...find("nodes").children].map((item) => [item.dataset.node, item.getBoundingClientRect()]));
  const pairs = new Map();
  for (const link of view.links) {
    const key = JSON.stringify([link.node, link.peer].sort());
    const pair = pairs.get(key) ?? { sent: 0, rtt: null };
    pair.sent += link.sent_per_s ?? 0;
    if (link.rtt_us !== null) pair.rtt = pair.rtt === null ? link.rtt_us : Math.min(pair.rtt, link.rtt_us);
    pairs.set(key, pair);
  }
  const most = Math.max(1, ...[...pairs.values()].map((pair) => pair.sent));
  const shapes = [];
  const shape = (tag, attributes, text = "") => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    shapes.push(element);
  };
  // More labels than this hide each other; the table has them all.
  const labelled = [...pairs.entries()].sort((one, other) => other[1].sent - one[1].sent).slice(0, 12);
  for (const [key, pair] of labelled) {
    const [one, other] = JSON.parse(key).map((name) => tiles.get(name));
    if (!one || !other) continue;
    const [left, right] = one.left <= other.left ? [one, other] : [other, one];
    const text = `${bytes(pair.sent)}/s${pair.rtt === null ? "" : `, ${micros(pair.rtt)}`}`;
    const width = 1.5 + 6 * Math.sqrt(pair.sent / most);
    const isRow = Math.abs(left.top - right.top) < 8;
    let path, x, y;
    if (!isRow) {
      const [upper, lower] = left.top < right.top ? [left, right] : [right, left];
      const from = [upper.left + upper.width / 2 - frame.left, upper.bottom - frame.top];
      const to = [lower.left + lower.width / 2 - frame.left, lower.top - frame.top];
      const middle = (from[1] + to[1]) / 2;
      path = `M ${from[0]} ${from[1]} C ${from[0]} ${middle}, ${to[0]} ${middle}, ${to[0]} ${to[1]}`;
      [x, y] = [(from[0] + to[0]) / 2, middle + 4];
    } else if (right.left - left.right < 1.5 * left.width) {
      [x, y] = [(left.right + right.left) / 2 - frame.left, left.top + left.height / 2 - frame.top];
      path = `M ${left.right - frame.left} ${y} H ${right.left - frame.left}`;
      y -= 8;
    } else {
      const from = [left.left + left.width / 2 - frame.left, left.bottom - frame.top];
      const to = [right.left + right.width / 2 - frame.left, right.bottom - frame.top];
      const low = Math.max(from[1], to[1]) + 44;
      path = `M ${from[0]} ${from[1]} C ${from[0]} ${low}, ${to[0]} ${low}, ${to[0]} ${to[1]}`;
      [x, y] = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 8 + low * 0.75 + 14];
    }
    shape("path", { d: path, "stroke-width": width });
    shape("text", { x, y }, text);
  }
  svg.replaceChildren(...shapes);
}

function drawLinks(view) {
  const body = find("links").tBodies[0];
  fill(body, view.links, () => view.links.map((link) => make("tr", {}, ...cells([
    [link.node], [link.peer], [known(link.sent_per_s, (sent) => `${bytes(sent)}/s`), "number"],
    [known(link.rtt_us, micros), "number"], [bytes(link.sent_bytes), "number"], [link.tls ? "TLS" : "no"],
  ]))));
}

/** A program's address space: whose each part is, and where pages fight. */
function strip(view, job) {
  const counts = new Map();
  for (const cell of job.memory) counts.set(cell.owner, (counts.get(cell.owner) ?? 0) + 1);
  const fights = job.memory.reduce((all, cell) => all + cell.fights, 0);
  const shares = [...counts].map(([owner, count]) => `${owner ?? "nobody known"} owns ${count}`).join(", ");
  const label = `Memory in ${count(job.memory.length, "part")}: ${shares}. ` +
    (fights ? `Nodes fight for ${count(fights, "page")}.` : "Nodes fight for no page.");
  const parts = job.memory.map((cell) => {
    const at = view.nodes.findIndex((node) => node.node === cell.owner);
    const kinds = [colour(at), cell.leap ? "leap" : "", cell.fights ? "fights" : ""].join(" ");
    const title = `${hex(cell.start)} to ${hex(cell.end)}: ${cell.owner ?? "owner not known"}, ${count(cell.fights, "page")} that nodes fight for`;
    return make("span", { class: kinds, title }, cell.fights ? "!" : letter(at));
  });
  return [make("div", { class: "strip", role: "img", "aria-label": label }, ...parts),
    make("p", { class: "legend" }, label)];
}

function drawJob(view, job) {
  const card = make("article", { class: "job" },
    make("header", {}, make("h3", {}, job.program),
      make("p", {}, `process ${known(job.process, String)} on ${job.home ?? "?"}, ${job.nodes} nodes, ` +
        `${known(job.threads, String)} threads, ${number(job.wall_s)} s`)),
    make("p", { class: "legend mono" }, job.command ?? ""));
  const lost = job.lost_share ?? job.lost_share_total;
  const used = make("div", { class: "used" });
  const waited = make("div", { class: "waited" });
  used.style.width = `${(1 - lost) * 100}%`;
  waited.style.width = `${lost * 100}%`;
  const words = `${percent(lost)} of its threads' time is lost waiting for memory of other nodes; ` +
    `${known(job.cpus_used, (cpus) => cpus.toFixed(1))} processors in use, ${known(job.faults_per_s, number)} faults/s, ` +
    `${known(job.sent_per_s, bytes)}/s sent, ${known(job.moves_per_min, number)} moves of threads a minute`;
  card.append(make("div", { class: "lost", role: "img", "aria-label": words }, used, waited),
    make("p", { class: "legend" }, words), ...(job.memory.length ? strip(view, job) : []));
  card.append(partsOf(view, job));
  return card;
}

/** What a program does on each node, and its faults: closed at first. */
function partsOf(view, job) {
  const head = (names) => make("thead", {}, make("tr", {}, ...names.map((name, at) =>
    make("th", { scope: "col", class: at ? "number" : "" }, name))));
  const parts = make("table", {}, head(["Node", "Threads", "Processors", "Time lost", "Memory", "Sent"]),
    make("tbody", {}, ...job.parts.map((part) => make("tr", {},
      make("td", {}, badge(view.nodes, part.node), part.node), ...cells([
        [String(part.threads_here), "number"], [known(part.cpus_used, (cpus) => cpus.toFixed(1)), "number"],
        [known(part.lost_share, percent), "number"], [bytes(part.memory_bytes), "number"],
        [bytes(part.sent_bytes), "number"],
      ])))));
  const faults = make("table", {}, head(["Faults on", "Cause", "Now", "In all", "Median", "99 of 100"]),
    make("tbody", {}, ...job.faults.filter((fault) => fault.count).map((fault) => make("tr", {}, ...cells([
      [fault.node], [fault.cause, "number"], [known(fault.per_s, (faults) => `${number(faults)}/s`), "number"],
      [number(fault.count), "number"], [known(fault.p50_us, micros), "number"], [known(fault.p99_us, micros), "number"],
    ])))));
  const details = make("details", { open: opened.has(job.job) }, make("summary", {}, "Nodes and faults"),
    make("div", { class: "scroll" }, parts, faults));
  details.addEventListener("toggle", () => (details.open ? opened.add(job.job) : opened.delete(job.job)));
  return details;
}
const opened = new Set();

function drawJobs(view) {
  const list = find("jobs");
  while (list.children.length > view.jobs.length) list.lastElementChild.remove();
  while (list.children.length < view.jobs.length) list.append(make("div"));
  view.jobs.forEach((job, at) => {
    const { thread_list: _, ...shown } = job;
    const holder = list.children[at];
    // A person who reads the details keeps their place in them.
    const inside = holder.contains(document.activeElement);
    fill(holder, [shown, view.nodes.map((node) => node.node)], () => [drawJob(view, job)]);
    if (inside) holder.querySelector("summary")?.focus();
  });
  if (view.jobs.length === 0) list.replaceChildren(make("p", {}, "No program runs. To start one: banyan run -n all -- PROGRAM"));
}

function drawHot(view) {
  find("cold").hidden = view.hot.length > 0;
  find("hot").hidden = view.hot.length === 0;
  const program = (number) => view.jobs.find((job) => job.job === number)?.program ?? "";
  // What moved least says least; `banyan sql` has the rest.
  const hottest = view.hot.slice(0, 10);
  fill(find("hot").tBodies[0], hottest, () => hottest.map((page) =>
    make("tr", { class: page.fights ? "fights" : "" }, ...cells([
      [`${page.fights ? "! " : ""}${hex(page.address)}`, "mono"], [program(page.job)], [page.region ?? ""],
      [known(page.moves_per_s, (moves) => `${number(moves)}/s`), "number"], [number(page.moves), "number"],
      [page.writer ?? "read"], [page.remedy],
    ]))));
}

function drawEvents(view) {
  fill(find("events"), view.events, () => view.events.toReversed().map((event) =>
    make("li", { class: event.kind }, make("time", {}, clock(event.at_s)), make("span", {}, event.node),
      make("span", {}, event.kind), make("span", {}, event.text))));
}

let latest = null; // The newest view.
let shown = null; // The one on the screen.

function draw(view) {
  shown = view;
  drawHead(view);
  drawNodes(view);
  drawLinks(view);
  drawJobs(view);
  drawHot(view);
  drawEvents(view);
}

// Replay: the range goes over what the node keeps; at its end the present is shown.
let moments = [];
let isLive = true;
let isPaused = false;

const slider = find("when");

async function refreshMoments() {
  try {
    const answer = await fetch("/api/history");
    if (!answer.ok) return;
    const kept = shownMoment()?.number;
    moments = await answer.json();
    slider.max = Math.max(0, moments.length - 1);
    if (isLive) slider.value = slider.max;
    else slider.value = Math.max(0, moments.findLastIndex((moment) => moment.number <= kept));
  } catch { /* The stream says when the node is gone. */ }
}

const shownMoment = () => moments[Number(slider.value)];

function sayWhen() {
  const moment = shownMoment();
  const text = isLive || !moment ? "now" : clock(moment.at_s);
  setText(find("at"), text);
  slider.setAttribute("aria-valuetext", text);
}

let wanted = 0;
async function replay() {
  isLive = Number(slider.value) === Number(slider.max);
  sayWhen();
  const moment = shownMoment();
  if (isLive || !moment) return latest && draw(latest);
  const asked = ++wanted;
  const answer = await fetch(`/api/history/${moment.number}`);
  // One that was moved on meanwhile has another wish.
  if (answer.ok && asked === wanted && !isLive) draw(await answer.json());
}

function setPaused(paused) {
  isPaused = paused;
  const button = find("pause");
  button.setAttribute("aria-pressed", String(paused));
  button.textContent = paused ? "Go on" : "Pause";
  if (!paused && isLive && latest) draw(latest);
}

slider.addEventListener("input", () => replay().catch(() => {}));
find("pause").addEventListener("click", () => setPaused(!isPaused));
find("live").addEventListener("click", () => {
  slider.value = slider.max;
  setPaused(false);
  replay().catch(() => {});
});
window.addEventListener("resize", () => shown && drawLines(shown));

const source = new EventSource("/api/events");
source.addEventListener("view", (event) => {
  latest = JSON.parse(event.data);
  if (isLive && !isPaused) draw(latest);
});
source.addEventListener("error", () => {
  const truth = find("truth");
  truth.className = "bad";
  setText(truth, "✗ The node does not answer. What is shown is old.");
});
refreshMoments().then(sayWhen);
setInterval(refreshMoments, 5000);
