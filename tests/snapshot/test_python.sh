#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_python.sh PYTHON SOURCE LIBRARY MAKE_MODEL: the Python binding with the
# library as it was built; sizes of structs are asked of the C compiler.
set -eu
python=$1 source=$2 library=$3 make_model=$4
work=$(mktemp -d "${TMPDIR:-/tmp}/interestd-XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/sizes.c" <<'C'
#include <interest.h>
#include <stdio.h>
int main(void)
{
    return printf("VERSION_SIZE=%zu STATE_SIZE=%zu\n",
                  sizeof(struct interest_version),
                  sizeof(struct interest_state)) < 0;
}
C
cc -I"$source/snapshot" "$work/sizes.c" -o "$work/sizes"
export PYTHONPATH="$source/snapshot/python" PYTHONDONTWRITEBYTECODE=1
env $("$work/sizes") "$python" "$source/tests/snapshot/test_python.py" \
    "$library" "$make_model"
