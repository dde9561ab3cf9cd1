#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults 23 and 25: what operators and machines do to a process. Each case is
a life of one daemon over one stream (lane.py), and what it must show itself;
at the end the state equals the model's, byte for byte, and the weights those
of a run that nothing disturbed:

address space, descriptors and threads limited; SIGTERM and SIGINT in the
middle of a batch and of a version, twice; SIGHUP; SIGSTOP; stderr full,
blocked and closed; the wall clock a day ahead, a day behind, jumping; HTTP
clients that are slow, half open, and send garbage."""

import argparse
import json
import os
import resource
import shutil
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from daemon import check
from lane import HANG_S, Lane
from paths import Steps, say

DAY = 86400
SYSTEM, IO = 71, 74
LEFT = {128 + signal.SIGTERM, 128 + signal.SIGINT}


class Test:
    def __init__(self, arguments, folder):
        self.lane = Lane(arguments.interestd, arguments.library,
                         os.path.join(folder, "operations"), 5, 60, False)
        self.seconds, self.steps = arguments.seconds, Steps()
        self.said = {}

    def run(self):
        with self.lane as lane:
            self.daemon = lane.daemon
            for _ in range(8):
                lane.slices.send(lane.client)
            lane.calm()
            for case in (self.limits, self.signals, self.hangups,
                         self.stopped, self.stderrs, self.clocks, self.http):
                self.steps.run(case.__name__, case)
            unread = lane.slices.slices.pop()
            result = self.steps.run("against the model", lane.finish)
            lane.slices.slices.append(unread)
            self.steps.run("skip, killed", self.skip)
            return result

    # ---- helpers -----------------------------------------------------------

    def begin(self, plan="", **options):
        self.lane.slices.send(self.lane.client)
        self.start = time.monotonic()
        return self.lane.spawn(plan, **options)

    def working(self):
        status = self.lane.wait(HANG_S, lambda: self.lane.board.stored)
        if status is not None or not self.lane.board.stored:
            raise self.lane.hangs("-", f"status {status}; has committed "
                                        "nothing")

    def ends(self, statuses, what):
        status = self.lane.wait(HANG_S + 10)
        if status is None:
            raise self.lane.hangs(what, "has not ended in")
        check(status in statuses, f"{what}: exit status {status}, not one of "
              f"{sorted(statuses)}\n{self.daemon.log()}")
        self.lane.end("", status, self.start)
        return status

    def orderly(self, what):
        """It works to the end of the logs and ends in order."""
        self.daemon.wait_trained(self.lane.slices.sent, 120)
        self.daemon.process.terminate()
        self.ends({0}, what)

    # ---- cases -------------------------------------------------------------

    def limits(self):
        """Whatever does not fit is refused with a word, not with a crash; the
        state stays whole."""
        exits = {}
        for name, kind, values, fits in (
                ("descriptors", resource.RLIMIT_NOFILE,
                 (8, 16, 24), 256),
                ("address space", resource.RLIMIT_AS,
                 (200 << 20, 400 << 20, 800 << 20), 4 << 30)):
            for value in (*values, fits):
                def limit(kind=kind, value=value):
                    resource.setrlimit(kind, (value, value))
                self.begin(preexec_fn=limit)
                # Without a descriptor for a socket it waits for the broker.
                status = self.lane.wait(HANG_S if value == fits else 2,
                                        lambda: self.lane.board.stored)
                if status is None:
                    self.daemon.process.terminate()
                allowed = {0} if value == fits else \
                    {0, SYSTEM, -signal.SIGABRT, *LEFT}
                # A limit that the dynamic linker does not survive.
                if not self.lane.board.loaded:
                    check(self.daemon.process.wait() != 0, "no library")
                    continue
                at = self.lane.log_at
                status = self.ends(allowed, f"{name} {value}")
                check(status == 0 or os.path.getsize(self.daemon.log_path) >
                      at, f"{name} {value}: exit status {status} without a "
                          "word")
                exits.setdefault(name, []).append(status)
        for name, statuses in exits.items():
            check(statuses[-1] == 0, f"{name}: the last limit fits")
            check(any(statuses), f"{name}: no limit was ever felt")
        self.said["limits"] = exits

    def signals(self):
        """In a batch, in a commit, in a version; alone and twice."""
        exits = []
        for plan, number, twice in (
                ("sync.lmdb", signal.SIGTERM, False),
                ("sync.version", signal.SIGTERM, False),
                ("write.version", signal.SIGINT, False),
                ("sync.version", signal.SIGTERM, True),
                ("sync.lmdb", signal.SIGINT, True),
                ("alloc.own", signal.SIGTERM, True)):
            process = self.begin()
            self.lane.wait(HANG_S, lambda: self.lane.board.hits().get(
                plan, 0) >= 3)
            check(self.lane.board.hits().get(plan, 0) >= 3,
                  f"{plan} was never reached")
            process.send_signal(number)
            if twice:
                time.sleep(0.01)
                process.send_signal(number)
            what = f"{number.name} {'twice ' if twice else ''}at {plan}"
            exits.append(self.ends({0, *LEFT} if twice else {0}, what))
        self.said["signals"] = exits

    def hangups(self):
        process = self.begin()
        self.working()
        for _ in range(5):
            process.send_signal(signal.SIGHUP)
        self.orderly("SIGHUP")
        check(b"hangup" in self.lane.log_since() or
              "hangup" in self.daemon.log(20000), "SIGHUP is not even told")

    def stopped(self):
        process = self.begin()
        self.working()
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.seconds)
        for _ in range(4):
            self.lane.slices.send(self.lane.client)
        process.send_signal(signal.SIGCONT)
        self.orderly("SIGSTOP")

    def stderrs(self):
        """Nobody reads the log, the disk of the log is full, there is none:
        the daemon does its work."""
        full = os.open("/dev/full", os.O_WRONLY)
        reader, pipe = os.pipe()
        os.set_blocking(pipe, False)
        try:
            while os.write(pipe, b"x" * 4096):
                pass
        except BlockingIOError:
            pass
        os.set_blocking(pipe, True)
        for what, fd in (("full", full), ("blocked", pipe)):
            self.begin(preexec_fn=lambda fd=fd: os.dup2(fd, 2))
            self.orderly(f"stderr {what}")
            if self.lane.versions:
                self.lane.silent.add(max(self.lane.versions)[0])
        self.begin(preexec_fn=lambda: os.close(2))
        self.orderly("stderr closed")
        self.lane.silent.add(max(self.lane.versions)[0])
        os.close(full)
        os.close(reader)
        os.close(pipe)

    def clocks(self):
        """The wall clock is for the eye: event time and timers go on."""
        for shift in ((DAY,), (-DAY,), (DAY, -DAY, 0)):
            self.begin()
            for seconds in shift:
                self.lane.board.shift_clock(seconds)
                self.working()
                self.lane.slices.send(self.lane.client)
                time.sleep(0.1)
            self.orderly(f"clock {shift}")

    def skip(self):
        """`interestd skip`, killed at each step, has moved the partition and
        told it, or has done nothing; asked again it does what is left."""
        self.lane.slices.send(self.lane.client)
        state = self.daemon.config["state"]
        aside = state + ".aside"
        shutil.copytree(state, aside)
        environment = {**os.environ, "LD_PRELOAD": self.lane.library}

        def run(plan):
            shutil.rmtree(state)
            shutil.copytree(aside, state)
            self.lane.board.clear()
            return again(plan)

        def again(plan):
            board = self.lane.board.environment(self.lane.root, plan)
            return self.daemon.call(
                "skip", "--partition", "0", "--from", "latest", "--yes",
                env={**environment, **board}).returncode

        def views():
            return [self.daemon.inspect(what) for what in
                    ("ledger", "sequences", "samples", "decisions")]

        before = views()
        check(run("") == 0, "skip")
        hits, after = self.lane.board.hits(), views()
        check(before != after, "skip has changed nothing")
        moved = 0
        plans = [f"{point}:{nth}:{when}" for point, count in hits.items()
                 if point.split(".")[0] in ("put", "del", "commit") or
                 point in ("write.lmdb", "sync.lmdb")
                 for nth in sorted({1, (count + 1) // 2, count})
                 for when in ("before", "after")]
        for plan in plans:
            check(run(plan) == -signal.SIGKILL, f"{plan} did not come true")
            found = views()
            check(found in (before, after), f"{plan}: half of a skip")
            moved += found == after
            check(again("") == 0 and views() == after,
                  f"{plan}: asked again it is not done")
        check(0 < moved < len(plans), f"{moved} of {len(plans)} had moved")
        self.lane.fsck()
        self.said["skips_killed"] = len(plans)

    def http(self):
        """Clients that never finish, and garbage, keep nobody from /status
        and cost the daemon nothing."""
        self.begin()
        self.working()
        self.daemon.wait(lambda status: True, "/status")
        port = int(self.daemon.url("/").split(":")[2].strip("/"))
        open_ones = []
        for _ in range(40):
            one = socket.create_connection(("127.0.0.1", port), timeout=10)
            one.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            open_ones.append(one)
        for garbage in (b"\0" * 4096, b"GET " + b"/" * 100_000 + b"\r\n\r\n",
                        os.urandom(8192), b"POST /control/pause HTTP/1.1\r\n"
                        b"Content-Length: 99999999999\r\n\r\n",
                        b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 5000,
                        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20_000):
            with socket.create_connection(("127.0.0.1", port),
                                          timeout=10) as one:
                try:
                    one.sendall(garbage)
                    one.shutdown(socket.SHUT_WR)
                    one.recv(4096)
                except OSError:
                    pass # it hung up first
            self.daemon.alive()
        for _ in range(3): # one more byte each, for ever
            for one in open_ones:
                try:
                    one.sendall(b"s")
                except OSError:
                    pass # its time was up
            check(self.daemon.wait(lambda status: True, "/status", 60),
                  "no /status beside slow clients")
        for one in open_ones:
            one.close()
        self.orderly("HTTP")


def test(arguments, folder):
    one = Test(arguments, folder)
    result = one.run()
    say(json.dumps({"test": "fault.operations", **one.said,
                    "seconds": one.steps.seconds, **result}))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("library", help="libfault.so")
    options.add_argument("--seconds", type=float, default=3,
                         help="of the SIGSTOP")
    paths.main(test, options)
