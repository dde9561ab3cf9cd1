#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""load.py BUILD [SECONDS [CANDIDATES [BEHAVIORS]]]: the example server under
load (wrk), with a new version every second, and without. Prints its figures as
one line of JSON; exit 77 where wrk is not installed. Checks on the way that
every answer was 200, that versions were followed and none refused."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def metric(port, name):
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=10) as reply:
        for line in reply.read().decode().splitlines():
            key, value = line.split()
            if key == name:
                return float(value)
    raise KeyError(name)


def wait_for(what, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            if what():
                return
        except OSError:
            pass
        if time.monotonic() > end:
            sys.exit("load: the server did not come up")
        time.sleep(0.05)


def wrk(port, seconds, path):
    text = subprocess.run(
        ["wrk", "--latency", "-t1", "-c8", f"-d{seconds}s",
         f"http://127.0.0.1:{port}{path}"],
        check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"load: {text}")
    figures = {"requests_per_s": float(
        re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))}
    for share in ("50", "99"):
        value, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)\b",
                                text).groups()
        figures[f"p{share}_ms"] = round(float(value) * UNITS[unit], 3)
    return figures


def main():
    if len(sys.argv) < 2:
        sys.exit("usage: load.py BUILD [SECONDS [CANDIDATES [BEHAVIORS]]]")
    build = sys.argv[1]
    seconds, candidates, behaviors = (
        int(sys.argv[i]) if len(sys.argv) > i else default
        for i, default in ((2, 10), (3, 20), (4, 20)))
    if not shutil.which("wrk"):
        print("load: wrk is not installed", file=sys.stderr)
        return 77
    make = os.path.join(build, "tests/snapshot/snapshot_make_model")
    server = os.path.join(build, "tests/examples/example_server")
    items = [f"item{i},cate{i % 9}" for i in range(candidates + behaviors)]
    path = (f"/rank?history={';'.join(items[candidates:])}"
            f"&candidates={';'.join(items[:candidates])}")
    with tempfile.TemporaryDirectory() as work:
        folder, port = os.path.join(work, "model"), free_port()
        subprocess.run([make, folder, "20000"], check=True,
                       stdout=subprocess.DEVNULL)
        running = subprocess.Popen([server, folder, str(port)])
        maker = None
        try:
            wait_for(lambda: metric(port, "ranker_version") == 1)
            still = wrk(port, seconds, path)
            maker = subprocess.Popen(
                [make, folder, "20000", "1000000", "1000"],
                stdout=subprocess.DEVNULL)
            wait_for(lambda: metric(port, "ranker_version") >= 3)
            swapping = wrk(port, seconds, path)
            if not metric(port, "ranker_cut_seconds") <= \
                    metric(port, "ranker_served_since_seconds"):
                sys.exit("load: served before it was cut")
            versions = int(metric(port, "ranker_version"))
            errors = int(metric(port, "ranker_refresh_errors_total"))
            if errors or versions < 3:
                sys.exit(f"load: {errors} errors, version {versions}")
        finally:
            if maker:
                maker.kill()
                maker.wait()
            running.send_signal(signal.SIGTERM)
        if running.wait(30) != 0:
            sys.exit("load: the server ended with an error")
    print(json.dumps({
        "candidates": candidates, "behaviors": behaviors, "connections": 8,
        "server_threads": 2, "seconds": seconds, "still": still,
        "swapping": swapping, "versions": versions}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
