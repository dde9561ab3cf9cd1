#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building interestd needs and that are not
# there yet; with --tests also those that its tests need. Changes nothing when
# all is there, so it may run again and again. Needs root, or sudo, only when
# something is missing. It does not build and removes nothing.
set -euo pipefail

build_packages=(
  gcc libc6-dev cmake ninja-build pkg-config
  librdkafka-dev libavro-dev liblmdb-dev libev-dev libjansson-dev
  libmicrohttpd-dev libyaml-dev libcurl4-openssl-dev libxxhash-dev
)
# The tests' own: C harness, a Kafka client, the model in Python, what fetches
# and runs Apache Kafka, and the quality report's numbers, plots and twins.
test_packages=(
  libcmocka-dev g++ kcat python3 python3-venv python3-avro python3-xxhash python3-yaml zstd
  maven default-jre-headless
  python3-numpy python3-matplotlib python3-torch
)

usage() {
  echo "usage: bash configs/install.sh [--tests]"
  echo "Installs missing Debian packages for the build; --tests: for the tests too."
}

missing() {
  local package
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
      grep -qx installed || echo "$package"
  done
}

packages=("${build_packages[@]}")
for argument in "$@"; do
  case $argument in
    --tests) packages+=("${test_packages[@]}") ;;
    --help) usage; exit 0 ;;
    *) echo "install.sh: unknown argument: $argument" >&2; usage >&2; exit 64 ;;
  esac
done

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || {
  echo "install.sh: this is not a Debian system; install by hand what matches: ${packages[*]}" >&2
  exit 69
}
mapfile -t wanted < <(missing "${packages[@]}")
if [ ${#wanted[@]} -eq 0 ]; then
  echo "install.sh: all ${#packages[@]} Debian packages are there"
  exit 0
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || {
    echo "install.sh: missing: ${wanted[*]}" >&2
    echo "install.sh: run as root, or install sudo: apt-get install ${wanted[*]}" >&2
    exit 77
  }
  as_root=(sudo)
fi
echo "install.sh: installing ${#wanted[@]} Debian packages: ${wanted[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
    -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 || {
    cat "$log" >&2
    echo "install.sh: apt-get $1 failed (its output is above)" >&2
    exit 69
  }
}
apt update
apt install -y --no-install-recommends "${wanted[@]}"
echo "install.sh: done"
