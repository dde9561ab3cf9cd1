#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds, runs the tests; may run again and again.
#   --quick          unit and golden tests only: no sanitizers, no daemon
#   --slow           also thread sanitizer, benchmarks, 300,000 Globo clicks
#   --require-kafka  fail where Apache Kafka cannot be obtained, not skip
# The last line is `N passed, N failed, N skipped`; the exit status is 0 only
# if nothing failed. Works in build/ and temporary folders.
set -uo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 70

quick=0 slow=0 require_kafka=0
for argument in "$@"; do
  case $argument in
    --quick) quick=1 ;;
    --slow) slow=1 ;;
    --require-kafka) require_kafka=1 ;;
    --help) sed -n '3,9p' "$0"; exit 0 ;;
    *) echo "run.sh: unknown argument: $argument" >&2; exit 64 ;;
  esac
done

passed=0 failed=0 skipped=0
python=/usr/bin/python3
say() { echo "run.sh: $*"; }
finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
  exit
}

# A step without which nothing else can run.
must() {
  local log
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    tail -n 60 "$log"
    rm -f "$log"
    say "FAILED: $*"
    failed=$((failed + 1))
    finish
  fi
  rm -f "$log"
}

build() { # preset
  say "build: $1"
  must cmake --preset "$1" -DINTERESTD_TESTS=ON
  must cmake --build --preset "$1"
}

# Runs ctest in a build folder and adds up what it says.
units() { # preset, further ctest arguments
  local preset=$1 log
  shift
  log=$(mktemp)
  say "tests: $preset"
  ctest --test-dir "build/$preset" --output-on-failure -j 2 "$@" 2>&1 |
    tee "$log"
  local total bad skip
  read -r bad total < <(sed -nE \
    's/.* tests passed, ([0-9]+) tests failed out of ([0-9]+).*/\1 \2/p' \
    "$log") || true
  skip=$(grep -cE '\*\*\*Skipped' "$log")
  rm -f "$log"
  if [ -z "${total:-}" ] || [ "$total" -eq 0 ]; then
    say "FAILED: no test ran in build/$preset"
    failed=$((failed + 1))
    return
  fi
  failed=$((failed + bad))
  skipped=$((skipped + skip))
  passed=$((passed + total - bad - skip))
}

# End-to-end tests run two at a time; what one printed is shown once it has
# ended: 0 passed, 77 skipped (it said why), else failed. With the real broker,
# where that is required, to skip is to fail.
declare -A running=() logs=() must_run=()
start() { # 1: must not skip, name, command
  local required=$1 name=$2 log
  shift 2
  [ ${#running[@]} -lt 2 ] || reap
  log=$(mktemp)
  say "test: $name"
  "$@" >"$log" 2>&1 </dev/null &
  running[$!]=$name logs[$!]=$log must_run[$!]=$required
}
reap() {
  local pid status=0
  wait -n -p pid "${!running[@]}" || status=$?
  local name=${running[$pid]}
  say "output of $name:"
  cat "${logs[$pid]}"
  rm -f "${logs[$pid]}"
  if [ $status -eq 77 ] && [ "${must_run[$pid]}" -eq 1 ]; then
    say "FAILED: $name: Apache Kafka is required here"
    failed=$((failed + 1))
  else
    case $status in
      0) passed=$((passed + 1)); say "passed: $name" ;;
      77) skipped=$((skipped + 1)); say "SKIPPED: $name" ;;
      *) failed=$((failed + 1)); say "FAILED: $name (exit status $status)" ;;
    esac
  fi
  unset "running[$pid]" "logs[$pid]" "must_run[$pid]"
}
program() { start 0 "$@"; }
kafka_program() { start $require_kafka "$@"; }
programs_end() {
  while [ ${#running[@]} -gt 0 ]; do reap; done
}

bash configs/install.sh --tests || { failed=1; finish; }
build release
units release -LE slow
if [ $quick -eq 1 ]; then
  finish
fi

build asan-ubsan
units asan-ubsan -L 'unit|golden' -E '^(model|adapters)\.'

interestd=$top/build/release/daemon/interestd
program e2e.manual "$python" -B tests/e2e/manual.py "$interestd"
program e2e.packages "$python" -B tests/e2e/packages.py "$interestd"
program e2e.demo "$python" -B tests/e2e/demo.py "$interestd"
program e2e.bad_input "$python" -B tests/e2e/bad_input.py "$interestd"
program e2e.mock "$python" -B tests/e2e/mock.py "$interestd"
program e2e.outages "$python" -B tests/e2e/outages.py "$interestd"
program e2e.freshness "$python" -B tests/e2e/freshness.py --seconds 8 \
  "$interestd"
program e2e.skew "$python" -B tests/e2e/skew.py "$interestd"
program e2e.rollback "$python" -B tests/e2e/rollback.py "$interestd"
program e2e.verify "$python" -B tests/e2e/verify.py "$interestd"
program e2e.forget "$python" -B tests/e2e/forget.py "$interestd"
program e2e.page "$python" -B tests/e2e/page.py "$interestd"
program e2e.metrics "$python" -B tests/e2e/metrics.py "$interestd"
program examples.load "$python" -B tests/examples/load.py build/release 2
program e2e.backup "$python" -B tests/e2e/backup.py "$interestd"
program e2e.pressure "$python" -B tests/e2e/pressure.py \
  --slow "$top/build/release/tests/fault/libslow.so" "$interestd"
program e2e.disk "$python" -B tests/e2e/disk.py "$interestd"
program e2e.movielens "$python" -B tests/e2e/movielens.py "$interestd"
kafka_program e2e.kafka_globo "$python" -B tests/e2e/kafka_globo.py \
  --clicks 20000 "$interestd"

kafka_program e2e.producers "$python" -B tests/e2e/producers.py "$interestd"
program e2e.registry "$python" -B tests/e2e/registry.py "$interestd"
kafka_program e2e.lost_range "$python" -B tests/e2e/lost_range.py "$interestd"
fault=$top/build/release/tests/fault/libfault.so
program fault.lives "$python" -B tests/fault/lives.py "$fault" "$interestd"
program fault.operations "$python" -B tests/fault/operations.py "$fault" \
  "$interestd"
kafka_program e2e.secure "$python" -B tests/e2e/secure.py "$interestd"
kafka_program e2e.broker_faults "$python" -B tests/e2e/broker_faults.py \
  "$interestd"
kafka_program e2e.group "$python" -B tests/e2e/group.py "$interestd"
kafka_program e2e.transactions "$python" -B tests/e2e/transactions.py \
  "$interestd"
programs_end

if [ $slow -eq 1 ]; then
  build tsan
  units tsan -L 'unit' -E '^(model|adapters)\.'
  program bench bash tests/bench/run.sh # alone: it measures
  programs_end
  program fault.lives_5000 "$python" -B tests/fault/lives.py --kills 5000 \
    --faults 900 --least 10 "$fault" "$interestd"
  program quality.row_dtypes "$python" -B tests/quality/row_dtypes.py \
    --data movielens --rows 30000 "$interestd"
  kafka_program e2e.kafka_globo_300000 "$python" -B \
    tests/e2e/kafka_globo.py --clicks 300000 "$interestd"
  programs_end
fi
finish
