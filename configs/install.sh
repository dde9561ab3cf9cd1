#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building interestd needs and that are not
# there yet; with --tests also those that its tests need, with --quality those of
# the quality report too. Changes nothing when all is there, so it may run again
# and again. Needs root, or sudo, only when something is missing. It does not
# build and removes nothing.
set -euo pipefail

build_packages=(
  gcc libc6-dev cmake ninja-build pkg-config
  librdkafka-dev libavro-dev liblmdb-dev libev-dev libjansson-dev
  libmicrohttpd-dev libyaml-dev libcurl4-openssl-dev libxxhash-dev
  libjs-chart.js
)
# The tests' own: C harness, a Kafka client, the model in Python, what fetches
# and runs Apache Kafka, numbers, and the monitoring that metrics and alerts are
# written for.
test_packages=(
  libcmocka-dev g++ kcat python3 python3-venv python3-avro python3-xxhash
  python3-yaml python3-numpy python3-matplotlib zstd
  maven default-jre-headless
  prometheus wrk lintian man-db
)
# The quality report's twins, and what makes the golden values anew: large.
quality_packages=(python3-torch)
# Of these the tests run the program themselves: where they are installed here,
# their services start neither now nor with the machine.
quiet_services=(prometheus)

usage() {
  echo "usage: bash configs/install.sh [--tests | --quality]"
  echo "Installs missing Debian packages for the build; --tests: for the tests too;"
  echo "--quality: for tests/quality/run.sh too."
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
    --quality) packages+=("${test_packages[@]}" "${quality_packages[@]}") ;;
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

policy=/usr/sbin/policy-rc.d quiet=()
for service in "${quiet_services[@]}"; do
  [[ " ${wanted[*]} " != *" $service "* ]] || quiet+=("$service")
done
# Debian asks this program before it starts a service. One that is there
# already is its owner's word and stays.
hold_services() {
  [ ${#quiet[@]} -gt 0 ] && [ ! -e "$policy" ] || return 0
  trap '"${as_root[@]}" rm -f "$policy"; rm -f "$log"' EXIT
  printf '#!/bin/sh\ncase " %s " in *" ${1%%.service} "*) exit 101 ;; esac\n' \
    "${quiet[*]}" | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
}
apt update
hold_services
apt install -y --no-install-recommends "${wanted[@]}"
for service in "${quiet[@]}"; do
  "${as_root[@]}" update-rc.d "$service" disable
done
echo "install.sh: done"
