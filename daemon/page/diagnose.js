// SPDX-License-Identifier: Apache-2.0
// From what /status says, now and a few seconds ago, to the daemon's state in
// one sentence, and what each stage does and which one holds up the others.
// Pure functions: no DOM.
import { bytes, count, duration, percent } from "./format.js";

const LAGGING_SECONDS = 10; // of the present rate, still in Kafka

// Differences between two answers, per second.
export function rates(now, before) {
  const seconds = before ? (now.now_ms - before.now_ms) / 1000 : 0;
  const per = (get) =>
    seconds > 0 ? Math.max(0, get(now) - get(before)) / seconds : null;
  return {
    seconds,
    events: per((s) => s.ingest.events),
    samples: per((s) => s.learner.position),
    commits: per((s) => s.ingest.commits),
    busy: per((s) => s.learner.busy_seconds),
    cpu: per((s) => s.usage.cpu_seconds),
    versions: per((s) => s.publish.published),
    lagFalls: seconds > 0 && now.ingest.lag_records >= 0 &&
      before.ingest.lag_records >= 0
      ? (before.ingest.lag_records - now.ingest.lag_records) / seconds : null,
  };
}

function stopped(status) {
  return status.ingest.partitions.filter((one) => one.stopped);
}

function lagging(status, rate) {
  const lag = status.ingest.lag_records;
  return rate.events !== null && lag > 100 &&
    lag > LAGGING_SECONDS * rate.events;
}

function catchingUp(status, rate) {
  const lag = status.ingest.lag_records;
  if (rate.lagFalls > 0)
    return `${count(lag)} records to go, caught up in about ` +
      `${duration(1000 * lag / rate.lagFalls)} at this pace.`;
  return `${count(lag)} records to go, and it is not getting less.`;
}

// The first that holds: [what, tone, state, sentence].
const STATES = [
  [(s) => s.phase !== "running", "off", (s) => s.phase,
    (s) => s.phase === "stopping"
      ? "A last checkpoint and version are being written."
      : "The state is being opened."],
  [(s) => s.paused, "warn", () => "paused",
    () => "By an operator: nothing is applied or trained until resume. " +
      "Kafka keeps what comes."],
  [(s) => s.ingest.disk_low, "bad", () => "disk nearly full",
    (s) => `${bytes(s.ingest.disk_free_bytes)} left, ` +
      `${bytes(s.ingest.disk_reserve_bytes)} are kept free: nothing is ` +
      "taken in until there is room. It goes on by itself."],
  [(s) => stopped(s).length, "bad", () => "partition stopped",
    (s) => `${stopped(s)[0].topic}/${stopped(s)[0].partition}: ` +
      `${stopped(s)[0].stop_reason} To go on: ${stopped(s)[0].resume}`],
  [(s) => s.ingest.broker_error, "bad",
    (s) => s.ingest.broker_refuses ? "broker refuses" : "broker away",
    (s) => `${s.ingest.broker_error.replace(/ \(after .*$/, "")}. It is ` +
      "tried again and again; nothing is lost."],
  [(s) => s.ingest.group && s.ingest.group.state !== "member", "warn",
    () => "joining the group",
    (s) => s.ingest.group.error ||
      "Nothing is applied until its partitions are known."],
  [(s) => s.ingest.registry_error, "bad", () => "schema registry away",
    (s) => s.ingest.registry_error],
  [(s) => !s.ingest.partitions.length, "warn", () => "starting",
    () => "Waiting for Kafka to say which partitions there are."],
  [(s) => s.publish.last_error, "bad", () => "cannot publish",
    (s) => s.publish.last_error],
  [(s) => s.publish.gate.holding, "warn", () => "gate holding",
    (s) => `Learning goes on; the version at position ` +
      `${s.publish.gate.position.toLocaleString("en")} is held: ` +
      `${s.publish.gate.text}.`],
  [lagging, "warn", () => "lagging", catchingUp],
  [(s, r) => r.samples > 0 || r.events > 0, "good", () => "learning",
    (s, r) => `Keeps up with Kafka: ${count(r.events)} events and ` +
      `${count(r.samples)} samples a second.`],
  [() => true, "good", () => "idle",
    () => "All that is in Kafka is applied; waiting for more."],
];

export function diagnose(status, rate) {
  const [, tone, state, sentence] =
    STATES.find(([holds]) => holds(status, rate));
  return { tone, state: state(status), sentence: sentence(status, rate) };
}

// ---- stages ----------------------------------------------------------------

function kafka(status) {
  const { ingest } = status;
  const bad = stopped(status).length;
  return {
    name: "Kafka",
    doing: ingest.broker_error ? "away"
      : bad ? `${bad} of ${ingest.partitions.length} partitions stopped`
      : ingest.partitions.length ? `${ingest.partitions.length} partitions`
      : "no partitions yet",
    tone: ingest.broker_error || bad ? "bad" : "",
  };
}

function intake(status, rate) {
  const { ingest } = status;
  return {
    name: "Intake",
    doing: status.paused ? "paused"
      : ingest.disk_low ? "waits for room on the disk"
      : ingest.parked_partitions
        ? `${ingest.parked_partitions} partitions wait for a schema`
      : rate.events ? `decodes and merges ${count(rate.events)}/s`
      : "waits for records",
    tone: ingest.disk_low || ingest.parked_partitions ? "bad" : "",
  };
}

function store(status, rate) {
  const { ingest } = status;
  return {
    name: "Store",
    load: rate.commits === null ? null
      : Math.min(1, rate.commits * ingest.last_commit_us / 1e6),
    loadIs: "of the time in commits",
    doing: `${count(rate.commits)} commits/s, ` +
      `${(ingest.last_commit_us / 1000).toFixed(1)} ms`,
  };
}

function journal(status) {
  const { ingest, learner, usage } = status;
  return {
    name: "Journal",
    load: ingest.journal_bytes / usage.journal_max_bytes,
    loadIs: "of its cap",
    doing: `${count(Math.max(0, ingest.batch_end - learner.position))} ` +
      "samples wait",
  };
}

function training(status, rate) {
  return {
    name: "Training",
    load: rate.busy === null ? null : Math.min(1, rate.busy),
    loadIs: "of the time in steps",
    doing: status.paused ? "paused"
      : rate.samples ? `${count(rate.samples)} samples/s` : "waits for samples",
  };
}

function publishing(status) {
  const { publish, usage, now_ms } = status;
  return {
    name: "Publishing",
    load: usage.publish_interval_ms
      ? Math.min(1, publish.last_us / 1000 / usage.publish_interval_ms) : null,
    loadIs: "of its interval",
    doing: publish.gate.holding ? "held by the gate"
      : publish.version
        ? `version ${publish.version}, ` +
          `${duration(now_ms - publish.created_ms)} ago`
      : "nothing yet",
    tone: publish.gate.holding ? "warn" : publish.last_error ? "bad" : "",
  };
}

// Index of the stage that the others wait for, and why; -1: none.
function bottleneck(status, rate, stages) {
  const { ingest, learner } = status;
  const waiting = ingest.batch_end - learner.position;
  if (ingest.broker_error) return [0, "nothing can be fetched"];
  if (status.paused) return [-1, "paused by an operator"];
  if (ingest.disk_low) return [1, "waits for room on the disk"];
  if (ingest.parked_partitions) return [1, "waits for a schema"];
  const behind = lagging(status, rate);
  if (stages[4].load > 0.85 && (behind || waiting > rate.samples))
    return [4, `steps take ${percent(stages[4].load)} of the time`];
  if (!behind) return [-1, "none: all wait for Kafka"];
  if (stages[2].load > 0.5)
    return [2, `commits take ${percent(stages[2].load)} of the time`];
  return [1, "records are there, the later stages wait"];
}

export function stages(status, rate) {
  const all = [kafka(status), intake(status, rate), store(status, rate),
    journal(status), training(status, rate), publishing(status)];
  const [at, why] = bottleneck(status, rate, all);
  return { all, bottleneck: at, why };
}
