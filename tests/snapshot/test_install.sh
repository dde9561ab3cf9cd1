#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_install.sh BUILD SOURCE MAKE_MODEL: installs libinterest into a
# temporary prefix, builds the example rankers against it with pkg-config and
# with CMake, in C, C++ and Python, runs all five, and looks at what is exported.
set -eu
build=$1 source=$2 make_model=$3
work=$(mktemp -d "${TMPDIR:-/tmp}/interestd-XXXXXX")
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
example=$source/tests/examples/ranker
fail() { echo "test_install: $*" >&2; exit 1; }

for component in libinterest libinterest-dev python; do
    cmake --install "$build" --component $component --prefix "$prefix" \
        >/dev/null
done
library=$(find "$prefix" -name libinterest.so.0)
[ -n "$library" ] || fail "no libinterest.so.0 in the prefix"
libdir=$(dirname "$library")

foreign=$(nm -D --defined-only "$library" | awk '{print $3}' |
    grep -v '^interest_' || true)
[ -z "$foreign" ] || fail "foreign symbols are exported: $foreign"
nm -D --defined-only "$library" | grep -q ' T interest_score$' ||
    fail "interest_score is not exported"
needed=$(objdump -p "$library" | awk '/NEEDED/ {print $2}')
for name in rdkafka avro lmdb libev microhttpd yaml; do
    case $needed in *"$name"*) fail "the library needs $name" ;; esac
done
objdump -p "$library" | grep -q 'SONAME *libinterest.so.0$' ||
    fail "the SONAME is not libinterest.so.0"

model=$work/model
"$make_model" "$model" >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name interest.pc)")
export PKG_CONFIG_PATH
flags=$(pkg-config --cflags --libs interest)
case $flags in *"$prefix"*) ;; *) fail "pkg-config says '$flags'" ;; esac
# The header alone, in both languages, as strict as it gets.
printf '#include <interest.h>\n' >"$work/alone.c"
cp "$work/alone.c" "$work/alone.cpp"
cc -std=c99 -pedantic-errors -Wall -Wextra -Werror -fsyntax-only \
    $(pkg-config --cflags interest) "$work/alone.c"
c++ -std=c++11 -pedantic-errors -Wall -Wextra -Werror -fsyntax-only \
    $(pkg-config --cflags interest) "$work/alone.cpp"
cc -std=c11 -Wall -Wextra -Werror "$example/ranker.c" $flags -o "$work/pc_c"
c++ -std=c++17 -Wall -Wextra -Werror "$example/ranker.cpp" $flags \
    -o "$work/pc_cpp"
cmake -G Ninja -S "$example" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" \
    >/dev/null
cmake --build "$work/build" >/dev/null

# Every function of the header has its line in the man page.
page=$(find "$prefix" -name interest.3)
[ -n "$page" ] || fail "no man page in the prefix"
for name in $(grep -o 'interest_[a-z_]*(' "$prefix/include/interest.h" |
    tr -d '(' | sort -u); do
    nm -D --defined-only "$library" | grep -q " T $name$" ||
        fail "$name is not exported"
    grep -q "$name(" "$page" || fail "$name is not in interest.3"
done
module=$(dirname "$(find "$prefix" -name interest.py)")
[ -f "$module/interest.py" ] || fail "no interest.py in the prefix"

LD_LIBRARY_PATH=$libdir PYTHONPATH=$module PYTHONDONTWRITEBYTECODE=1
export LD_LIBRARY_PATH PYTHONPATH PYTHONDONTWRITEBYTECODE
for ranker in "$work/pc_c" "$work/pc_cpp" "$work/build/ranker_c" \
    "$work/build/ranker_cpp" "$example/ranker.py"; do
    "$ranker" "$model" 'shoe7,sport;hat3,sport;,x' \
        'shoe7,sport;shoe8,sport;pan1,kitchen' >"$work/out"
    [ "$(grep -c '^v[0-9]*-1 candidate [012]: 0\.[0-9]*$' "$work/out")" = 3 ] ||
        fail "$ranker printed: $(cat "$work/out")"
    [ -f "$work/first" ] || cp "$work/out" "$work/first"
    cmp "$work/first" "$work/out" || fail "$ranker differs"
    if "$ranker" "$work/nothing" a b >"$work/out" 2>&1; then
        fail "$ranker succeeded without a model"
    fi
    grep -q "$work/nothing" "$work/out" || fail "$ranker does not say where"
done
# Plain C is another arithmetic: the golden requests agree within a tolerance.
INTERESTD_KERNELS=plain "$work/pc_c" "$model" 'shoe7,sport' 'shoe7,sport' \
    >"$work/out" || fail "plain kernels refuse the model"
# shoe7 has a row of its own; the others and all categories have none.
[ "$(cut -d: -f2 "$work/first" | sort -u | wc -l)" = 2 ] ||
    fail "not two different scores: $(cat "$work/first")"
echo "installed library: 5 rankers agree"
