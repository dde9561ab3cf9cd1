// SPDX-License-Identifier: Apache-2.0
// Numbers, times and sizes in words for people; "–" for what is not known.

const NONE = "–";

export function count(value) {
  if (value === null || value === undefined || !isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 1e9) return (value / 1e9).toFixed(2) + " G";
  if (size >= 1e6) return (value / 1e6).toFixed(2) + " M";
  if (size >= 1e4) return (value / 1e3).toFixed(1) + " k";
  return size < 10 && value % 1 ? value.toFixed(1)
    : Math.round(value).toLocaleString("en");
}

export function whole(value) {
  return value === null || value === undefined ? NONE
    : Math.round(value).toLocaleString("en");
}

export function real(value, digits = 4) {
  return value === null || value === undefined || !isFinite(value) ? NONE
    : value.toFixed(digits);
}

export function bytes(value) {
  if (value === undefined || value < 0) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${value.toFixed(unit && value < 100 ? 1 : 0)} ${units[unit]}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined || ms < 0 || !isFinite(ms)) return NONE;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)} h`;
  return `${whole(seconds / 86400)} days`;
}

export function percent(share) {
  if (share === null || !isFinite(share)) return NONE;
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}

export function signed(value) {
  return value === null || value === undefined || !isFinite(value) ? NONE
    : `${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)} %`;
}

export function clock(ms, withSeconds) {
  const options = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (withSeconds) options.second = "2-digit";
  return new Date(ms).toLocaleTimeString("en-GB", options);
}
