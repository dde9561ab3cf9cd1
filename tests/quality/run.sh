#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The quality report: every model over the Globo clicks and MovieLens 100k,
# predicted before it is trained; report.md and plots in build/quality. Builds
# what it needs in build/release; installs nothing (configs/install.sh
# --quality). What was trained before is not trained again; one that was stopped
# goes on where it was.
#   tests/quality/run.sh [--users PERCENT] [--budget-minutes 60] [--full]
#                        [--output FOLDER] [--help for all options]
# Standard output ends with a table, then one JSON object.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
python=/usr/bin/python3
"$python" -c 'import matplotlib, numpy, torch, yaml' 2>/dev/null || {
  echo "run.sh: missing Python packages: bash configs/install.sh --quality" >&2
  exit 69
}
case " $* " in
  *" --build "* | *" --build="* | *" --help "*) ;;
  *)
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    { cmake --preset release -DINTERESTD_TESTS=ON &&
      cmake --build --preset release --target quality_fill quality_learn
    } >"$log" 2>&1 || {
      tail -n 40 "$log" >&2
      echo "run.sh: the build failed (its output is above)" >&2
      exit 70
    }
    ;;
esac
"$python" -B tests/quality/quality.py "$@"
