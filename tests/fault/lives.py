#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Faults 19, 21 and 23 of one process, again and again over one stream:

1. kill -9 before and after every step that matters, in the middle of writes,
   and at random; after each the daemon starts again where it was;
2. calls that fail once or from then on: memory, threads, open, write, sync,
   rename, map. It goes on, or ends with the exit status of the cause;
3. CURRENT never goes back and always verifies; at the end ledger, sequences
   and samples equal the model's, byte for byte, the weights those of a run
   that nothing disturbed, and every version ever committed is announced, none
   after a newer one.

Two lanes: `kept` keeps its journal; `trimmed` trims it, and takes its schemas
from a registry, new ids in every slice."""

import argparse
import errno
import json
import os
import random
import shutil
import signal
import statistics
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from daemon import Failure, check
from lane import Lane
from paths import Steps, say

LANES = {
    "kept": (False, {}),
    "trimmed": (True, {"ingest.journal_keep": False,
                       "ingest.journal_max_mb": 1}),
}
# Where kill -9 comes: every change of a file, of the store, of the topic.
KILL_OPS = ("open", "write", "sync", "rename", "remove", "mkdir", "put",
            "del", "commit", "produce")
TORN_OPS = ("write",)
UNKILLED = ("open.other", "write.other", "write.log", "open.folder",
            "sync.other", "put.other", "del.other")
FAIL_ERRORS = {
    "open": (errno.EMFILE, errno.EIO), "write": (errno.ENOSPC, errno.EIO),
    "sync": (errno.EIO,), "rename": (errno.ENOSPC, errno.EIO),
    "mkdir": (errno.ENOSPC,), "remove": (errno.EIO,),
    "map": (errno.ENOMEM,), "alloc": (errno.ENOMEM,),
    "thread": (errno.EAGAIN,), "put": (errno.ENOSPC,),
    "commit": (errno.EIO, errno.ENOSPC),
}
ROUND = 600 # kills over one stream
WARM_SLICES, WARM_LIVES = 8, 4
SYSTEM, IO = 71, 74
EXITS = {errno.EMFILE: SYSTEM, errno.ENOMEM: SYSTEM, errno.EAGAIN: SYSTEM,
         errno.ENOSPC: IO, errno.EIO: IO}


def allowed(point, error):
    """Exit statuses of a process in which this call failed."""
    statuses = {0, EXITS[error]}
    if point == "open.other": # /dev/null in place of a closed descriptor
        statuses.add(SYSTEM)
    # Libraries that end the process where memory or threads are refused.
    if point in ("alloc.kafka", "alloc.other", "thread.kafka", "thread.other"):
        statuses.add(-signal.SIGABRT)
    return statuses


class Kills:
    """Which point is next: the one that came true least often."""

    def __init__(self, rng, hits, before):
        self.rng, self.done = rng, {}
        self.hits = {point: count for point, count in hits.items()
                     if point.split(".")[0] in KILL_OPS
                     and point not in UNKILLED}
        for point in self.hits:
            whens = ["before", "after"]
            if point.split(".")[0] in TORN_OPS:
                whens.append("torn")
            for when in whens:
                self.done[point, when] = before.get((point, when), 0)
        self.tries = dict(self.done)

    def next(self):
        """A plan; None: at random."""
        if self.rng.random() < 0.1:
            return None
        least = min(self.done.values())
        point, when = self.rng.choice(sorted(
            key for key, count in self.done.items() if count == least))
        self.tries[point, when] += 1
        # The more often it was missed the earlier it is tried.
        most = max(1, self.hits[point] // (1 + self.tries[point, when] -
                                           self.done[point, when]))
        return f"{point}:{self.rng.randint(1, most)}:{when}"

    def came_true(self, plan):
        point, _, when = plan.split(":")
        self.done[point, when] += 1


class Faults:
    """A failing call, drawn over all functions and over what each does."""

    def __init__(self, rng, hits):
        self.rng = rng
        self.points = {point: count for point, count in hits.items()
                       if point.split(".")[0] in FAIL_ERRORS}
        self.order = []

    def next(self):
        if not self.order:
            self.order = sorted(self.points)
            self.rng.shuffle(self.order)
        point = self.order.pop()
        error = self.rng.choice(FAIL_ERRORS[point.split(".")[0]])
        sticky = self.rng.choice(("", "+"))
        nth = self.rng.randint(1, self.points[point])
        return f"{point}:{nth}:{error}{sticky}", allowed(point, error)


class Test:
    def __init__(self, arguments, folder, name, seed, kills, before):
        self.arguments, self.name, self.before = arguments, name, before
        self.rng = random.Random(f"{seed} {name}")
        framed, changes = LANES[name]
        share = len(arguments.lane or LANES)
        self.kills = -(-kills // share)
        self.faults = -(-arguments.faults // share)
        self.lane = Lane(arguments.interestd, arguments.library,
                         os.path.join(folder, name), seed,
                         self.kills + self.faults + WARM_SLICES + WARM_LIVES, framed, **changes)
        self.error = None

    def run(self):
        try:
            with self.lane:
                self._run()
        except BaseException as error:  # told by the main thread
            self.error = error

    def _run(self):
        begin = time.monotonic()
        lane, rng = self.lane, self.rng
        # Until windows close, the journal is trimmed and old versions go.
        for _ in range(WARM_SLICES):
            lane.slices.send(lane.client)
        for _ in range(WARM_LIVES):
            hits = lane.calm()
        self.kill_plans = Kills(rng, hits, self.before)
        fault_plans = Faults(rng, hits)
        todo = ["kill"] * self.kills + ["fault"] * self.faults
        rng.shuffle(todo)
        self.kills_at_random = 0
        for number, what in enumerate(todo):
            if what == "kill":
                self._kill()
            else:
                plan, statuses = fault_plans.next()
                lane.failing(plan, 0.3, statuses)
            if number % self.arguments.check_every == 0:
                lane.check_current()
                lane.fsck()
        living = time.monotonic()
        self.result = lane.finish()
        self.seconds = (round(living - begin, 1),
                        round(time.monotonic() - living, 1))

    def _kill(self):
        """Until one has died; on its way out it may escape."""
        while self._try_kill().status == 0:
            pass

    def _try_kill(self):
        plan = self.kill_plans.next()
        patience = 0.3 if plan else self.rng.uniform(0, 0.3)
        # Checkpoints are rare but at the end.
        asked = bool(plan) and (".checkpoint" in plan or
                                self.rng.random() < 0.1)
        # A plan that nothing makes true; the patience ends the life.
        life = self.lane.die_by(plan or "put.other:1000000000:before",
                                patience, asked)
        if life.fired:
            self.kill_plans.came_true(plan)
        elif life.status:
            self.kills_at_random += 1
        return life

    def report(self):
        lives = self.lane.lives
        recoveries = sorted(x.recovery for x in lives if x.recovery)
        exits = {}
        for life in lives:
            if life.status != -signal.SIGKILL:
                key = str(life.status)
                exits[key] = exits.get(key, 0) + 1
        return {
            "kills": sum(x.status == -signal.SIGKILL for x in lives),
            "failing": sum(":" in x.plan and x.plan[-1] not in "ern"
                           for x in lives),
            "failed": sum(x.fired > 0 and x.plan[-1] not in "ern"
                          for x in lives),
            "failing_exits": exits,
            "at_random": self.kills_at_random,
            "seconds": self.seconds,
            "recovery_median_s": round(statistics.median(recoveries), 3),
            "recovery_max_s": round(recoveries[-1], 3), **self.result}


def together(arguments, tests, seed):
    """All lanes at once."""
    threads = [threading.Thread(target=one.run) for one in tests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in tests:
        if isinstance(one.error, Failure):
            raise Failure(f"lane {one.name}, seed {seed}, life "
                          f"{len(one.lane.lives)}: {one.error}")
        if one.error:
            raise one.error


def test(arguments, folder):
    """In rounds: the mock cluster keeps no more than some MiB of a log."""
    steps, done, reports, left = Steps(), {}, [], arguments.kills
    for number in range(max(1, -(-arguments.kills // ROUND))):
        seed = arguments.seed + number
        kills = min(left, ROUND)
        left -= kills
        tests = [Test(arguments, os.path.join(folder, str(number)), name,
                      seed, kills, done.get(name, {}))
                 for name in arguments.lane or LANES]
        steps.run(f"{kills} kills, seed {seed}", together, arguments, tests,
                  seed)
        reports.append({one.name: one.report() for one in tests})
        done = {one.name: one.kill_plans.done for one in tests}
        shutil.rmtree(os.path.join(folder, str(number)))
    points = {}
    for name in done:
        for key, count in done[name].items():
            points[":".join(key)] = points.get(":".join(key), 0) + count
    for report in reports:
        for name, lane in report.items():
            check(lane["recovery_median_s"] < 2,
                  f"{name}: half of the starts took longer than 2 s")
    least = min(points.values())
    check(least >= arguments.least, f"a failpoint came true {least} times: "
          f"{[key for key, count in points.items() if count == least]}")
    lanes = [lane for report in reports for lane in report.values()]
    say(json.dumps({
        "test": "fault.lives", "seed": arguments.seed,
        "kills": sum(lane["kills"] for lane in lanes),
        "failing_calls": sum(lane["failed"] for lane in lanes),
        "failpoints": len(points), "least": least,
        "missed": sorted(key for key, count in points.items() if not count),
        "recovery_median_s": statistics.median(
            lane["recovery_median_s"] for lane in lanes),
        "seconds": sum(steps.seconds.values()), "rounds": reports}))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("library", help="libfault.so")
    options.add_argument("--kills", type=int, default=150)
    options.add_argument("--faults", type=int, default=40)
    options.add_argument("--least", type=int, default=0,
                         help="each failpoint at least so often")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--lane", action="append", choices=sorted(LANES))
    options.add_argument("--check-every", type=int, default=10)
    paths.main(test, options)
