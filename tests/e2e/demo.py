#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`interestd demo` as its user meets it: it ends by itself with a sound
answer, learns, publishes and follows, accounts for every offset; and it ends
with 0 on Ctrl-C, with everything flushed."""

import argparse
import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from daemon import check
from paths import Steps, say

FIELDS = ("events", "samples", "auc", "auc_ceiling", "versions_published",
          "versions_followed", "unaccounted_offsets", "seconds")


def demo(interestd, folder, *arguments):
    return subprocess.Popen([interestd, "demo", "--json", *arguments],
                            cwd=folder, text=True, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def answer(process, timeout):
    out, err = process.communicate(timeout=timeout)
    check(process.returncode == 0,
          f"demo: exit status {process.returncode}:\n{out}\n{err[-3000:]}")
    found = json.loads(out[out.rindex("\n{") + 1:] if "\n{" in out else out)
    check(all(name in found for name in FIELDS), f"demo said {found}")
    check(found["unaccounted_offsets"] == 0, f"unaccounted: {found}")
    say(f"  {json.dumps(found)}")
    return found


def full(interestd, folder, seconds):
    begin = time.monotonic()
    found = answer(demo(interestd, folder, "--seconds", str(seconds)),
                   seconds + 60)
    took = time.monotonic() - begin
    check(took < seconds + 30, f"it took {took:.0f} s")
    check(found["events"] > 0 and found["samples"] > 0, f"{found}")
    check(found["versions_followed"] >= 1, f"no version followed: {found}")
    check(found["versions_published"] >= found["versions_followed"],
          f"more versions were followed than published: {found}")
    check(0.5 < found["auc"] <= 1 and 0.5 < found["auc_ceiling"] < 1,
          f"learned nothing: {found}")
    way = (found["auc"] - 0.5) / (found["auc_ceiling"] - 0.5)
    say(f"  AUC {found['auc']:.4f}, ceiling {found['auc_ceiling']:.4f}: "
        f"{100 * way:.0f} % of the way")


def interrupted(interestd, folder):
    process = demo(interestd, folder, "--seconds", "300")
    time.sleep(8)
    check(process.poll() is None, "it ended before Ctrl-C")
    process.send_signal(signal.SIGINT)
    answer(process, 30)


def ended(interestd, folder):
    """At any moment of the start, by any signal that asks for the end."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        for pause in (0.05, 0.2, 1):
            process = demo(interestd, folder, "--seconds", "300")
            time.sleep(pause)
            process.send_signal(number)
            err = process.communicate(timeout=60)[1]
            check(process.returncode == 0,
                  f"{number.name} after {pause} s: exit status "
                  f"{process.returncode}: {err[-1000:]}")


def dumb(interestd, folder):
    """A terminal that cannot go up, or is too small, gets lines."""
    for term, size in (("dumb", (24, 80)), ("xterm", (5, 30))):
        ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size,
                                                            0, 0))
        process = subprocess.Popen([interestd, "demo", "--seconds", "1"],
                                   cwd=folder, stdin=subprocess.DEVNULL,
                                   stdout=theirs, stderr=theirs,
                                   env={**os.environ, "TERM": term})
        os.close(theirs)
        said = b""
        try:
            while block := os.read(ours, 65536):
                said += block
        except OSError:
            pass  # the last one has closed it
        os.close(ours)
        check(process.wait(60) == 0, f"{term} {size}: {said[-500:]}")
        check(b"\x1b" not in said and b"events" in said,
              f"{term} {size}: {said[:300]}")


def test(arguments, folder):
    steps = Steps()
    steps.run(f"demo of {arguments.seconds} s", full, arguments.interestd,
              folder, arguments.seconds)
    steps.run("demo ended by Ctrl-C", interrupted, arguments.interestd,
              folder)
    steps.run("demo ended while it starts", ended, arguments.interestd, folder)
    steps.run("demo on a terminal without a cursor", dumb,
              arguments.interestd, folder)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--seconds", type=int, default=20)
    paths.main(test, options)
