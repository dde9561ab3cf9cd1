#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator installs:

1. `cpack -G DEB` makes four packages, in which lintian finds nothing;
2. the unit's sandbox is good enough for systemd-analyze, and the daemon sends
   the service manager what the unit waits for: READY=1 and WATCHDOG=1;
3. in a bare Debian the packages install; a later build takes over state and
   configuration; removing and purging keep the state
   (support/bare_packages.sh).
What is not possible here is left out with a word."""

import glob
import os
import shutil
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
import stream
from broker import Broker
from daemon import Daemon, check, merge
from paths import Steps, say

TOP = os.path.dirname(paths.TESTS)
FRESH = os.path.join(TOP, "..", "shared", "tools", "fresh-debian")
PACKAGES = ["interestd", "libinterest-dev", "libinterest0",
            "python3-interest"]
LATER = "9:0-1"


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=900,
                          **options)
    check(done.returncode == 0, f"{command[0]}: exit status "
                                f"{done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def pack(build, folder):
    run("cpack", "--config", os.path.join(build, "CPackConfig.cmake"),
        "-G", "DEB", "-B", folder)
    shutil.rmtree(os.path.join(folder, "_CPack_Packages"))
    files = sorted(glob.glob(os.path.join(folder, "*.deb")))
    names = [run("dpkg-deb", "-f", file, "Package").strip()
             for file in files]
    check(sorted(names) == PACKAGES, f"packages {names}")
    pages = run("dpkg-deb", "-c", files[0])
    check("/man1/interestd-run.1.gz" in pages and
          "/system/interestd.service" in pages, f"contents:\n{pages}")
    if not shutil.which("lintian"):
        say("  lintian is not here: not asked")
        return
    said = run("lintian", "--allow-root", "--fail-on", "error,warning",
               *files)
    check(not said.strip(), f"lintian:\n{said}")


def unit():
    if not shutil.which("systemd-analyze"):
        say("  systemd-analyze is not here: not asked")
        return
    said = run("systemd-analyze", "security", "--offline=true",
               "--threshold=30",
               os.path.join(TOP, "configs", "interestd.service"))
    say("  " + said.strip().splitlines()[-1])


def notify(interestd, folder):
    path = os.path.join(folder, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, \
            Broker(interestd, "impressions:1,clicks:1,a:1") as broker:
        manager.bind(path)
        manager.settimeout(60)
        daemon = Daemon(interestd, os.path.join(folder, "notified"),
                        merge(stream.config(),
                              {"kafka.brokers": broker.brokers,
                               "kafka.announcement_topic": ""}))
        os.environ.update(NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
        try:
            daemon.start()
            said = []
            while not {"READY=1", "WATCHDOG=1"} <= set(said):
                said += manager.recv(1000).decode().splitlines()
            check(said.index("READY=1") >= 0 and daemon.status() is not None,
                  "READY=1 before the daemon answers")
            daemon.process.terminate()
            while "STOPPING=1" not in said:
                said += manager.recv(1000).decode().splitlines()
            daemon.process.wait(60)
        finally:
            for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC"):
                del os.environ[name]
            daemon.end()
    say(f"  {sorted(set(x for x in said if x.endswith('=1')))}")


def later(folder):
    """The daemon's package once more, as a later build."""
    aside = os.path.join(folder, "aside")
    package, = glob.glob(os.path.join(folder, "interestd_*.deb"))
    run("dpkg-deb", "-R", package, aside)
    control = os.path.join(aside, "DEBIAN", "control")
    with open(control, encoding="utf-8") as file:
        lines = file.read().splitlines()
    with open(control, "w", encoding="utf-8") as file:
        file.writelines(f"Version: {LATER}\n"
                        if line.startswith("Version:") else line + "\n"
                        for line in lines)
    os.mkdir(os.path.join(folder, "next"))
    run("dpkg-deb", "--root-owner-group", "-b", aside,
        os.path.join(folder, "next"))
    shutil.rmtree(aside)


def bare(folder):
    if not os.access(FRESH, os.X_OK):
        say("  no tool for a bare system here: not tried")
        return
    later(folder)
    script = "bare_packages.sh"
    shutil.copy(os.path.join(paths.TESTS, "support", script), folder)
    done = subprocess.run(
        [FRESH, f"bash /out/{script} /out"], cwd=TOP, timeout=300, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "FRESH_DEBIAN_OUT": folder})
    if done.returncode == 77:
        say(f"  not tried: {done.stdout.strip()}")
        return
    check(done.returncode == 0, f"bare system: exit status "
                                f"{done.returncode}:\n{done.stdout[-3000:]}")
    say("  " + "\n  ".join(done.stdout.strip().splitlines()[-6:]))


def test(arguments, folder):
    steps = Steps()
    build = os.path.dirname(os.path.dirname(arguments.interestd))
    debs = os.path.join(folder, "debs")
    steps.run("packages", pack, build, debs)
    steps.run("the unit's sandbox", unit)
    steps.run("the service manager", notify, arguments.interestd, folder)
    steps.run("a bare system", bare, debs)


if __name__ == "__main__":
    paths.main(test)
