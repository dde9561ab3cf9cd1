#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_format.sh PYTHON SOURCE MAKE_MODEL MAKE_KINDS: published models, of every
# kind, are read and scored by the independent reader, and a damaged one is not.
set -eu
python=$1 check=$2/tests/snapshot/check_snapshot.py make_model=$3 make_kinds=$4
work=$(mktemp -d "${TMPDIR:-/tmp}/interestd-XXXXXX")
trap 'rm -rf "$work"' EXIT
version=$("$make_model" "$work/model" 60)
"$python" -B "$check" "$work/model"
for type in F32 F16 I8; do
    "$make_model" "$work/chain-$type" 60 8 0 "$type" >/dev/null
    "$python" -B "$check" "$work/chain-$type" >"$work/said"
    cat "$work/said"
    grep -q "and 2 deltas" "$work/said"
    grep -q "2 bases beside deltas are the same" "$work/said" ||
        ! "$python" -c "import xxhash"
done
"$make_kinds" "$work/kinds" >"$work/names"
cd "$work/kinds"
"$python" -B "$check" $(cat "$work/names")
cd "$work"
# Weights that are not those of the golden scores.
dense=$work/model/$version/dense.safetensors
size=$(wc -c <"$dense")
head -c $((size - 4000)) "$dense" >"$work/dense"
tail -c 4000 "$dense" | tr '\000-\377' '\001-\377\000' >>"$work/dense"
cat "$work/dense" >"$dense"
if "$python" -B "$check" "$work/model" 2>/dev/null; then
    echo "test_format: a damaged model was accepted" >&2
    exit 1
fi
