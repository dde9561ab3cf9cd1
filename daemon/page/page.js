// SPDX-License-Identifier: Apache-2.0
// The page: asks /status every two seconds and /history every ten, and puts
// what they say where it belongs. Nothing is asked while the page is hidden.
import { diagnose, rates, stages } from "./diagnose.js";
import * as format from "./format.js";
import { bars, lines, look } from "./charts.js";
import { openControls } from "./controls.js";

const STATUS_MS = 2000, HISTORY_MS = 10000, SMOOTH_MS = 10000;
const seen = []; // answers of the last seconds, oldest first
let history = null, historyMs = 0;

const $ = (id) => document.getElementById(id);

// An element with its attributes and children; texts are never HTML.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Replaces the children only where something changed, so that a selection
// and a screen reader's place stay.
function fill(id, ...children) {
  const fresh = make("div", {}, ...children.flat());
  if ($(id).innerHTML !== fresh.innerHTML)
    $(id).replaceChildren(...fresh.childNodes);
}

const cell = (text, attributes) => make("td", attributes, text);

// ---- now -------------------------------------------------------------------

function showHead(status, rate) {
  const { tone, state, sentence } = diagnose(status, rate);
  document.body.dataset.tone = tone;
  document.body.classList.remove("stale");
  document.title = `${state} – interestd`;
  if ($("state").textContent !== state) $("state").textContent = state;
  $("sentence").textContent = sentence;
  $("about").textContent = `up ${format.duration(status.uptime_ms)}, ` +
    `${status.learner.kernels} kernels` +
    (rate.cpu === null ? "" : `, ${format.percent(rate.cpu)} of a core`);
}

// The broker's end may be older than what is applied; null: it said none yet.
function partitionLag(one) {
  return one.high < 0 ? null : Math.max(0, one.high - one.next);
}

function partitionLagMs(status, one) {
  const lag = partitionLag(one);
  return lag && one.own_ms > 0 ? status.now_ms - one.own_ms : lag;
}

function tile(name, value, more) {
  return make("div", {}, make("dt", {}, name),
    make("dd", {}, make("b", {}, value), make("span", {}, more)));
}

function showTiles(status, rate) {
  const { ingest, publish, models, age_ms } = status;
  const best = models.find((one) => one.published) || models[0];
  const lags = ingest.partitions.map((one) => partitionLagMs(status, one));
  const window = best.last_samples;
  fill("tiles",
    tile("Events a second", format.count(rate.events),
      `${format.whole(ingest.events)} in all`),
    tile("Samples a second", format.count(rate.samples),
      `${format.whole(status.learner.position)} trained`),
    tile("Lag", ingest.lag_records < 0 ? "not known"
      : `${format.count(ingest.lag_records)} records`,
      lags.length && !lags.includes(null)
        ? `${format.duration(Math.max(...lags))} at most`
        : "the broker has not said"),
    tile("Newest published sample", format.duration(age_ms.published),
      age_ms.published < 0 ? "nothing published yet"
        : "old, by its event time"),
    tile(`AUC of ${best.name}`, format.real(window.auc),
      `${format.whole(window.samples)} samples, ` +
      `calibration ${format.real(window.calibration, 2)}`),
    tile("Version", publish.version ? format.whole(publish.version) : "none",
      publish.version
        ? `${format.duration(status.now_ms - publish.created_ms)} ago, ` +
          `epoch ${publish.epoch}`
        : "waits for samples and the gate"));
}

function showStages(status, rate) {
  const { all, bottleneck, why } = stages(status, rate);
  fill("stages", all.map((stage, at) => {
    const item = make("li", {}, make("b", {}, stage.name),
      make("span", {}, stage.doing));
    item.dataset.tone = stage.tone || "";
    if (at === bottleneck) item.classList.add("bottleneck");
    if (stage.load !== undefined && stage.load !== null) {
      const words = `${format.percent(stage.load)} ${stage.loadIs}`;
      item.append(make("meter", { min: 0, max: 1, high: 0.85, optimum: 0,
        value: stage.load, title: words, "aria-label": words }),
      make("small", {}, words));
    }
    return item;
  }), make("li", { className: "why", "data-tone": "" },
    make("b", {}, "Bottleneck"),
    make("span", {}, bottleneck < 0 ? why
      : `${all[bottleneck].name}: ${why}`)));
}

function showPartitions(status) {
  const worst = Math.max(1, ...status.ingest.partitions
    .map(partitionLag));
  // By size of the lag, roughly, so that rows do not dance.
  const weight = (one) => Math.floor(Math.log10(100 + partitionLag(one)));
  const rows = [...status.ingest.partitions].sort((a, b) =>
    b.stopped - a.stopped || weight(b) - weight(a));
  fill("partitions", rows.length ? rows.map((one) => {
    const row = make("tr", {},
      make("th", { scope: "row" }, `${one.topic}/${one.partition}`),
      cell(one.stopped ? "stopped" : format.whole(partitionLag(one))),
      cell(format.duration(partitionLagMs(status, one))),
      cell(format.whole(one.next)));
    if (one.stopped) row.dataset.tone = "bad";
    row.style.setProperty("--share", partitionLag(one) / worst);
    return row;
  }) : make("tr", {}, cell("No partitions are assigned yet.",
    { colSpan: 4 })));
}

function showLedger(status) {
  const { buckets, partitions, unaccounted } = status.ingest;
  const sum = partitions.reduce(
    (all, one) => all + one.before + one.next - one.start, 0);
  const parts = Object.entries(buckets).map(([name, value], at) =>
    ({ name: name.replace(/_/g, " "), value, at }))
    .filter(({ value }) => value).sort((a, b) => b.value - a.value);
  const told = parts.reduce((all, { value }) => all + value, 0);
  const good = told === sum && !unaccounted;
  $("ledger-sum").textContent = !sum ? "Nothing is consumed yet."
    : `${format.whole(sum)} offsets consumed, ${format.whole(told)} ` +
      `accounted for${good ? ": it adds up." : ": IT DOES NOT ADD UP."}`;
  $("ledger-sum").dataset.tone = good ? "" : "bad";
  fill("ledger-bar", parts.map(({ value, at }) => {
    const part = make("i");
    part.style.setProperty("flex-grow", value / sum);
    part.dataset.bucket = at;
    return part;
  }));
  fill("ledger-list", parts.map(({ name, value, at }) => {
    const mark = make("i");
    mark.dataset.bucket = at;
    return make("li", {}, mark, `${name} `, make("b", {}, format.count(value)),
      ` ${format.percent(value / sum)}`);
  }));
}

function showModels(status) {
  fill("model-legend", status.models.map((one, at) => {
    const mark = make("i");
    mark.style.setProperty("background", look(at).color);
    return make("li", {}, mark, `${one.name} (${one.kind})` +
      `${one.published ? ", published" : ""}`);
  }));
  fill("models", status.models.map((one) => {
    const window = one.last_samples;
    const row = make("tr", {},
      make("th", { scope: "row" }, one.name, " ",
        make("small", { title: one.reason }, one.kind +
          (one.published ? ", published" : "") +
          (one.state === "training" ? "" : `, ${one.state}`))),
      cell(format.real(window.auc)),
      cell(format.real(window.user_auc)), cell(format.real(window.log_loss)),
      cell(format.real(window.calibration, 2)),
      cell(one.rela_impr.base
        ? one.rela_impr.base === one.name ? "is the base"
          : format.signed(one.rela_impr.window) : "no base"));
    if (one.state !== "training") row.dataset.tone = "bad";
    return row;
  }));
}

function showVersions(status) {
  const { gate, recent } = status.publish;
  $("gate").textContent = gate.holding
    ? `Holding since ${format.clock(gate.since_ms, true)}: ${gate.text}`
    : recent.verdicts.length ? "The newest version passed." : "";
  $("gate").dataset.tone = gate.holding ? "warn" : "";
  fill("versions", recent.verdicts.length ? recent.verdicts.reverse()
    .map((one) => {
      const name = one.version
        ? make("button", { type: "button", className: "link",
          "data-version": one.version, title: "show its manifest" },
        one.version)
        : `position ${format.whole(one.position)}`;
      const row = make("tr", {},
        make("th", { scope: "row" }, name, " ",
          make("small", {}, one.kind || "held")),
        cell(format.clock(one.at_ms, true)),
        cell(one.gate + (one.times > 1 ? `, ${one.times} times` : ""),
          { title: one.text }),
        cell(format.real(one.auc)), cell(format.real(one.calibration, 2)),
        cell(one.bytes === undefined ? "–" : format.bytes(one.bytes)));
      if (one.gate !== "passed") row.dataset.tone = "warn";
      return row;
    }) : make("tr", {}, cell("No version was published or held by this " +
      "process yet.", { colSpan: 6 })));
}

function roomItem(name, used, cap, words) {
  const share = cap > 0 ? used / cap : 0;
  return make("li", {}, make("span", {}, name), make("meter", { min: 0, max: 1,
    low: 0.8, high: 0.93, optimum: 0, value: Math.min(1, share),
    "aria-label": `${name}: ${words}` }), make("small", {}, words));
}

function showRoom(status) {
  const { ingest, usage } = status;
  const of = (used, cap) => `${format.bytes(used)} of ${format.bytes(cap)}`;
  const disks = Object.entries(usage.disks).map(([name, disk]) => {
    const used = disk.size_bytes - disk.available_bytes;
    return roomItem(`Disk of ${name}`, used, disk.size_bytes,
      `${format.bytes(disk.available_bytes)} left of ` +
      `${format.bytes(disk.size_bytes)}`);
  });
  fill("room",
    roomItem("Memory", usage.resident_bytes, usage.memory_bytes,
      of(usage.resident_bytes, usage.memory_bytes)),
    roomItem("State (LMDB)", ingest.map_used_bytes, usage.map_max_bytes,
      of(ingest.map_used_bytes, usage.map_max_bytes)),
    roomItem("Journal", ingest.journal_bytes, usage.journal_max_bytes,
      of(ingest.journal_bytes, usage.journal_max_bytes)), disks);
}

// Newest first; of lines of one event in a row the newest, with their number.
function warnings(lines) {
  const list = [];
  for (const line of lines.reverse()) {
    const [, at, level, text] =
      line.match(/^ts=(\S+) level=(\S+) (.*)$/s) || [0, "", "warn", line];
    const last = list[list.length - 1];
    const event = text.split(" ")[0];
    if (last && last.event === event && last.level === level) last.times++;
    else list.push({ at, level, text, event, times: 1 });
  }
  return list;
}

function showWarnings(status) {
  fill("warnings", status.warnings.length ? warnings(status.warnings)
    .map(({ at, level, text, times }) => {
      const item = make("li", {}, make("time", { dateTime: at },
        format.clock(Date.parse(at), true)), " ",
      level === "error" ? make("b", {}, "error ") : "",
      times > 1 ? make("b", {}, `${times} times, last: `) : "", text);
      item.dataset.tone = level === "error" ? "bad" : "warn";
      return item;
    }) : make("li", { "data-tone": "" }, "None since the start."));
}

// ---- over time -------------------------------------------------------------

// A line breaks where the daemon was away.
function points(at, values, step) {
  const list = [];
  at.forEach((x, i) => {
    if (i && x - at[i - 1] > 3.5 * step)
      list.push({ x: at[i - 1] + 1, y: null });
    list.push({ x, y: values[i] });
  });
  return list;
}

// Of a counter, which falls where the process began anew.
function perSecond(at, counts) {
  return counts.map((value, i) => i && value >= counts[i - 1]
    ? 1000 * (value - counts[i - 1]) / (at[i] - at[i - 1]) : null);
}

// The history, and what is so now behind it.
function withNow(status) {
  const copy = { ...history, models: {} };
  const last = history.at_ms[history.at_ms.length - 1] || 0;
  const more = status.now_ms > last + 1000;
  const add = (list, value) => more ? [...list, value] : list;
  copy.at_ms = add(history.at_ms, status.now_ms);
  copy.events = add(history.events, status.ingest.events);
  copy.position = add(history.position, status.learner.position);
  copy.lag_records = add(history.lag_records, status.ingest.lag_records);
  for (const model of status.models) {
    const columns = history.models[model.name];
    if (!columns) continue;
    const now = { ...model.last_samples, rela_impr: model.rela_impr.window };
    copy.models[model.name] = Object.fromEntries(Object.entries(columns)
      .map(([name, list]) => [name, add(list, now[name])]));
  }
  return copy;
}

function showCharts(status) {
  $("no-curves").hidden = typeof Chart !== "undefined";
  if (!history || typeof Chart === "undefined") return;
  const all = withNow(status);
  const { at_ms: at, step_ms: step } = all;
  const minutes = Number($("range").value);
  // A short history is shown as large as it is.
  const from = Math.max(status.now_ms - minutes * 60000,
    Math.min(at.length ? at[0] : status.now_ms, status.now_ms - 120000));
  const range = { from, to: status.now_ms };
  lines("rates", [
    { name: "events", look: look(0),
      points: points(at, perSecond(at, all.events), step) },
    { name: "samples", look: look(1),
      points: points(at, perSecond(at, all.position), step) },
  ], range, { title: "Events and samples a second", zero: true });
  lines("lag", [{ name: "records", look: look(4), points: points(at,
    all.lag_records.map((v) => v < 0 ? null : v), step) }], range,
  { title: "Records in Kafka that are not applied yet", zero: true,
    least: 10 });
  for (const [name, title, digits, empty, line] of [
    ["auc", "AUC", 3, [0.5, 1]], ["user_auc", "User-weighted AUC", 3, [0.5, 1]],
    ["log_loss", "Log loss", 3, [0, 1]],
    ["calibration", "Calibration", 2, [0.5, 1.5], 1],
    ["rela_impr", "RelaImpr in percent", 1, [-10, 10], 0]])
    lines(name, status.models.map((model, i) => ({ name: model.name,
      look: look(i), points: points(at, all.models[model.name]
        ? all.models[model.name][name] : at.map(() => null), step) })), range,
    { title, digits, empty, line });
  showFresh(status);
}

function showFresh(status) {
  const { seconds } = status.publish.recent.fresh;
  const counts = history.fresh;
  const sum = counts.reduce((a, b) => a + b, 0);
  const labels = [...seconds.map((s) => `≤ ${format.duration(s * 1000)}`
    .replace(/\.0 /, " ")), "older"];
  let below = 0, at = 0;
  while (at < counts.length - 1 && below + counts[at] < sum / 2)
    below += counts[at++];
  $("fresh-words").textContent = sum
    ? `Of ${format.whole(sum)} versions in this time half had a newest ` +
      `sample ${at < seconds.length ? labels[at].slice(2) : "more"} old or ` +
      "less when they were published."
    : "How old a version's newest sample was when it was published; none " +
      "in this time.";
  // Only the part that holds something, with one empty bar at each side.
  const used = counts.map((value, i) => value ? i : -1).filter((i) => i >= 0);
  const from = Math.max(0, Math.min(...used, 4) - 1);
  const to = Math.min(counts.length, Math.max(...used, 6) + 2);
  bars("fresh", labels.slice(from, to), counts.slice(from, to),
    { title: "Versions by the age of their newest sample" });
}

// ---- asking ----------------------------------------------------------------

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

function showAway() {
  document.body.classList.add("stale");
  document.body.dataset.tone = "bad";
  document.title = "no answer – interestd";
  $("state").textContent = "no answer";
  const last = seen[seen.length - 1];
  $("sentence").textContent = "The daemon does not answer" + (last
    ? `; what is shown is of ${format.clock(last.now_ms, true)}.` : ".");
}

function show(status) {
  while (seen.length && (status.now_ms - seen[0].now_ms > SMOOTH_MS ||
    status.now_ms - status.uptime_ms > seen[0].now_ms)) seen.shift();
  const rate = rates(status, seen[0]);
  seen.push(status);
  for (const part of [showHead, showTiles, showStages])
    part(status, rate);
  for (const part of [showPartitions, showLedger, showModels, showVersions,
    showRoom, showWarnings, showCharts]) part(status);
}

async function tick() {
  if (document.hidden) return;
  try {
    if (Date.now() - historyMs >= HISTORY_MS) {
      history = await ask(`/history?minutes=${$("range").value}`);
      historyMs = Date.now();
    }
    show(await ask("/status"));
  } catch (error) {
    if (!(error instanceof TypeError) || !/fetch/i.test(error.message))
      console.warn(error.message);
    showAway();
  }
}

function again() {
  historyMs = 0;
  tick();
}

async function showManifest(version) {
  $("manifest-title").textContent = version;
  $("manifest-text").textContent = "…";
  $("manifest").showModal();
  try {
    const manifest = await ask(`/manifest?version=${version}`);
    $("manifest-text").textContent = JSON.stringify(manifest, null, 2);
  } catch {
    $("manifest-text").textContent =
      "It is not in the model folder any more.";
  }
}

$("range").addEventListener("change", again);
$("versions").addEventListener("click", (event) => {
  const version = event.target.dataset.version;
  if (version) showManifest(version);
});
$("controls-open").addEventListener("click", () => openControls(
  [...document.querySelectorAll("#versions [data-version]")]
    .map((one) => one.dataset.version)));
document.addEventListener("visibilitychange", again);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
again();
setInterval(tick, STATUS_MS);
