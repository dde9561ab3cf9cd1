#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a clean clone to the running demonstration: installs what is missing,
# builds build/release, ends in `interestd demo`, which ends by itself after
# --seconds (60) or on Ctrl-C. Arguments go to it: --seconds N, --json. May run
# again and again. What it says itself goes to stderr, so that stdout holds
# only the demonstration's lines. Touches build/ and nothing else of the tree.
set -euo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"

say() { echo "demo.sh: $*" >&2; }

say "1/3 packages"
bash configs/install.sh >&2
say "2/3 build (Release, into build/release)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
  "$@" >"$log" 2>&1 || { cat "$log" >&2; say "failed: $*"; exit 70; }
}
quietly cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DINTERESTD_TESTS=OFF
quietly cmake --build build/release --target interestd
rm -f "$log"
trap - EXIT
say "3/3 interestd demo $*"
exec build/release/daemon/interestd demo "$@"
