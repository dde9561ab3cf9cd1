#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# bare_packages.sh DIR: in a bare system, installs the packages of DIR, learns
# something as the package's user, upgrades to the packages of DIR/next, goes on
# with the state, removes and purges. tests/e2e/packages.py runs it.
set -eu
dir=$1
config=/etc/interestd/interestd.yaml
fail() { echo "bare_packages: $*" >&2; exit 1; }
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
quietly() { "$@" >"$dir/log" 2>&1 || { tail -n 30 "$dir/log"; fail "$1"; }; }
user=(setpriv --reuid interestd --regid interestd --clear-groups)

export DEBIAN_FRONTEND=noninteractive
quietly apt-get update -q
quietly apt-get install -yq --no-install-recommends "$dir"/*.deb
interestd version
interestd check-config --config $config >/dev/null
[ "$(stat -c %U:%a /var/lib/interestd)" = interestd:750 ] ||
    fail "/var/lib/interestd: $(stat -c %U:%a /var/lib/interestd)"

interestd broker --topics impressions:2,clicks:2,model-announcements:1 \
    >"$dir/broker" &
for _ in $(seq 600); do
    ! grep -q bootstrap= "$dir/broker" || break
    sleep 0.1
done
brokers=$(sed -n 's/bootstrap=//p' "$dir/broker")
# An operator's edit, which an upgrade leaves alone.
sed -i "s/^  brokers: .*/  brokers: $brokers/; s/^  disk_check: true/  disk_check: false/" $config

ask='
import json, sys, urllib.request
url = f"http://127.0.0.1:{sys.argv[1]}/status"
print(json.load(urllib.request.urlopen(url, timeout=5))["ingest"]["events"])'
# Sends for two seconds and lets the daemon apply at least so many events.
learn() { # events
    interestd produce --config $config --seconds 2 --rate 1000 >/dev/null
    "${user[@]}" interestd run --config $config --set http.port=0 \
        --set ingest.map_mb=1024 2>"$dir/daemon" &
    local daemon=$! port
    events=0
    for _ in $(seq 200); do
        kill -0 $daemon || { cat "$dir/daemon"; fail "the daemon ended"; }
        sleep 0.2
        port=$(cat /var/lib/interestd/state/http.port 2>/dev/null || true)
        [ -n "$port" ] || continue
        events=$(python3 -c "$ask" "$port" || true)
        [ "${events:-0}" -lt "$1" ] || break
    done
    kill -TERM $daemon
    wait $daemon || fail "the daemon: exit status $?: $(cat "$dir/daemon")"
    [ "${events:-0}" -ge "$1" ] || fail "${events:-0} events, not $1"
    echo "$events events"
}
learn 1000
first=$events
"${user[@]}" interestd inspect ledger --config $config >"$dir/before"

quietly dpkg -i "$dir"/next/*.deb
dpkg-query -W -f '${Package} ${Version}\n' interestd
grep -q "brokers: $brokers" $config || fail "the upgrade changed $config"
"${user[@]}" interestd inspect ledger --config $config >"$dir/after"
cmp "$dir/before" "$dir/after" || fail "the upgrade changed the state"
"${user[@]}" interestd fsck --config $config >/dev/null
learn $((first + 1000))

quietly apt-get remove -yq interestd
[ -d /var/lib/interestd/state ] && [ -f $config ] ||
    fail "removing took state or configuration"
[ ! -e /usr/bin/interestd ] || fail "the program is still there"
quietly dpkg --purge interestd
[ -d /var/lib/interestd/state ] || fail "purging took the state"
[ ! -e $config ] || fail "purging left $config"
echo "installed, upgraded, removed, purged: the state stayed"
