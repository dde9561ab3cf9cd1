#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs the benchmarks of a release build and prints a table, then one JSON
# object. Groups of 5 samples share a history, as a page of 5 impressions does;
# a Globo history has 2.3 behaviors on average over the first 300,000 clicks.
# The same through Apache Kafka, all of it: tests/e2e/kafka_globo.py.
#   tests/bench/run.sh [BUILD_FOLDER]       default build/release
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$top/build/release}
bench=$build/tests/bench
[ -x "$bench/bench_state" ] || {
  echo "run.sh: no benchmarks in $build; build first: tests/run.sh --quick" >&2
  exit 66
}
cd "$top"
results=$(mktemp)
trap 'rm -f "$results"' EXIT

one() { # title, key of the figure in its JSON, unit, command
  local title=$1 key=$2 unit=$3 line
  shift 3
  line=$("$@" | tail -n 1)
  printf '%s\t%s\t%s\t%s\n' "$title" "$key" "$unit" "$line" >>"$results"
}

one "decode an impression" records_per_second records/s "$bench/bench_decode"
one "state machine, commits with full sync" events_per_second events/s \
  "$bench/bench_state" 1000000
globo=$(mktemp -d)
trap 'rm -rf "$results" "$globo"' EXIT
if /usr/bin/python3 tests/adapters/globo.py "$globo" --clicks 200000 >&2; then
  one "all of ingest, Globo, embedded broker" events_per_second events/s \
    "$bench/bench_ingest" throughput "$globo"
  one "click to journal at 50,000 events/s, median" p50_ms ms \
    "$bench/bench_ingest" latency "$globo"
  printf '%s\t%s\t%s\t%s\n' "click to journal at 50,000 events/s, p99" \
    p99_ms ms "$(tail -n 1 "$results" | cut -f 4)" >>"$results"
fi
rm -rf "$globo"
one "DIN step, Globo lengths (mean 2), one thread" samples_per_s samples/s \
  "$bench/bench_learner" --samples 400000 --mean 2 --group 5
one "DIN step, mean length 15, one thread" samples_per_s samples/s \
  "$bench/bench_learner" --samples 200000 --mean 15 --group 5
one "DIN step, length 100, no sharing, one thread" samples_per_s samples/s \
  "$bench/bench_learner" --samples 30000 --lengths constant --mean 100 \
  --group 1
one "DIEN step, mean length 15, one thread" samples_per_s samples/s \
  "$bench/bench_learner" --kind dien --samples 100000 --mean 15 --group 5
one "grow a table to 20 million rows, longest call" stall_ms ms \
  "$bench/bench_table" --other-rows 0 --runs 2
one "a row of E 18, Adam, at the worst moment" resident_bytes_per_row_worst \
  bytes "$bench/bench_table" --rows 2000000 --other-rows 0 --runs 1
one "pauses of training while deltas of 5 M rows go out, share" pause_share \
  "x" "$bench/bench_publish" --seconds 15
one "rank 500 candidates, length 100, median" score_p50_ms ms \
  "$bench/bench_ranker" 100000 100
one "p99.9 of a score with a swap every second / without" p999_ratio "x" \
  "$bench/bench_swap" 100000 100000

/usr/bin/python3 - "$results" <<'PY'
import json
import sys

rows = []
for line in open(sys.argv[1], encoding="utf-8"):
    title, key, unit, result = line.rstrip("\n").split("\t")
    rows.append({"name": title, "value": json.loads(result)[key], "unit": unit})
for row in rows:
    digits = 0 if row["value"] >= 1000 else 2
    print(f"{row['name']:<48} {row['value']:>14,.{digits}f} {row['unit']}")
print(json.dumps({"benchmarks": rows}))
PY
