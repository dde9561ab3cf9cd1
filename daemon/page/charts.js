// SPDX-License-Identifier: Apache-2.0
// The page's curves, drawn by Chart.js: one time axis for all, a line for each
// model, the same data in words for screen readers.
import { clock, count } from "./format.js";

const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3]];
const charts = new Map();

export function style(name) {
  return getComputedStyle(document.documentElement)
    .getPropertyValue(`--${name}`).trim();
}

// Series `index` has this color and dash everywhere.
export function look(index) {
  return { color: style(`series-${index % 6}`),
    dash: DASHES[Math.floor(index / 6 + index) % DASHES.length] };
}

function timeScale(range) {
  return {
    type: "linear", min: range.from, max: range.to,
    grid: { color: style("grid"), drawTicks: false },
    border: { display: false },
    ticks: { color: style("muted"), maxRotation: 0, autoSkip: false,
      padding: 4, callback: (ms, at) =>
        at === 0 || range.to - ms < 0.03 * (range.to - range.from) ? ""
          : clock(ms, range.to - range.from < 240000) },
    afterBuildTicks: (axis) => {
      const steps = [0.5, 1, 2, 5, 15, 30, 60, 120, 240, 360]
        .map((minutes) => minutes * 60000);
      const room = Math.max(2, axis.width / 70);
      const step = steps.find((one) => (range.to - range.from) / one <= room) ||
        steps[steps.length - 1];
      axis.ticks = [{ value: range.from }];
      for (let ms = Math.ceil(range.from / step) * step; ms <= range.to;
        ms += step) axis.ticks.push({ value: ms });
    },
  };
}

function valueScale(options, known) {
  const [low, high] = known || !options.empty ? [] : options.empty;
  return {
    beginAtZero: !!options.zero, grace: options.zero || !known ? 0 : "8%",
    min: low, max: high, suggestedMax: options.least,
    grid: { color: style("grid"), drawTicks: false },
    ticks: { color: style("muted"), maxTicksLimit: 5, padding: 4,
      callback: options.digits === undefined ? (v) => count(v)
        : (v) => v.toFixed(options.digits) },
  };
}

function common() {
  return {
    animation: false, responsive: true, maintainAspectRatio: false,
    parsing: false, normalized: true,
    font: { family: style("font") },
    interaction: { mode: "index", intersect: false, axis: "x" },
    plugins: { legend: { display: false },
      tooltip: { displayColors: true, callbacks: {} } },
  };
}

function put(id, config) {
  const canvas = document.getElementById(`chart-${id}`);
  const old = charts.get(id);
  if (old) {
    old.data = config.data;
    old.options = config.options;
    old.update("none");
  } else {
    charts.set(id, new Chart(canvas, config));
  }
}

function tell(id, title, series, options) {
  const parts = series.map((one) => {
    const known = one.points.filter((point) => point.y !== null);
    const last = known[known.length - 1];
    return `${one.name}: ${last
      ? options.digits === undefined ? count(last.y)
        : last.y.toFixed(options.digits) : "not known yet"}`;
  });
  document.getElementById(`chart-${id}`)
    .setAttribute("aria-label", `${title}, newest: ${parts.join("; ")}`);
}

// series: [{ name, look, points: [{x, y}] }]; options: title, digits, zero,
// line (a level that means something).
export function lines(id, series, range, options) {
  const config = common();
  config.scales = { x: timeScale(range), y: valueScale(options,
    series.some((one) => one.points.some((point) => point.y !== null))) };
  config.plugins.tooltip.callbacks = {
    title: (items) => clock(items[0].parsed.x, true),
    label: (item) => ` ${item.dataset.label}: ${
      options.digits === undefined ? count(item.parsed.y)
        : item.parsed.y.toFixed(options.digits)}`,
  };
  const sets = series.map((one) => ({
    label: one.name, data: one.points, borderColor: one.look.color,
    backgroundColor: one.look.color, borderDash: one.look.dash,
    borderWidth: 2, pointRadius: one.points.length < 3 ? 2 : 0,
    pointHitRadius: 6, spanGaps: false, tension: 0,
  }));
  if (options.line !== undefined)
    sets.push({ label: "right", borderColor: style("muted"), borderWidth: 1,
      borderDash: [2, 4], pointRadius: 0, pointHitRadius: 0,
      data: [range.from, range.to].map((x) => ({ x, y: options.line })) });
  put(id, { type: "line", data: { datasets: sets }, options: config });
  tell(id, options.title, series, options);
}

export function bars(id, labels, values, options) {
  const config = common();
  delete config.parsing;
  const sum = values.reduce((a, b) => a + b, 0);
  config.scales = {
    x: { grid: { display: false },
      ticks: { color: style("muted"), maxRotation: 60, autoSkip: false } },
    y: { beginAtZero: true, ...valueScale({ zero: true }) } };
  config.plugins.tooltip.callbacks = {
    label: (item) => ` ${count(item.parsed.y)} versions, ` +
      `${(100 * item.parsed.y / sum).toFixed(1)} %` };
  put(id, { type: "bar", options: config, data: { labels, datasets: [{
    data: values, backgroundColor: style("series-0"), borderRadius: 3,
    categoryPercentage: 0.95, barPercentage: 0.95 }] } });
  document.getElementById(`chart-${id}`).setAttribute("aria-label",
    `${options.title}: ` + labels.map((label, i) => [label, values[i]])
      .filter(([, value]) => value)
      .map(([label, value]) => `${label}: ${value}`).join("; "));
}
