#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The chain of versions over processes, the real daemon on the mock cluster;
after each process the reader in Python loads what CURRENT names from every
base that is there, and they must agree bit for bit:

1. processes that publish one delta each count on: a base is written beside
   one of them when publish.base_deltas are reached;
2. kill -9 again and again, deltas and bases as fast as they can be made: what
   is left is whole, versions only grow, and the chain goes on."""

import glob
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, merge
from paths import Steps, say
from shadows import SMALL, Stream
import stream
import topics

TOPICS = "impressions:4,clicks:4,model-announcements:1"
READER = os.path.join(paths.TESTS, "snapshot", "check_snapshot.py")


class Test:
    def __init__(self, arguments, folder):
        self.interestd, self.folder = arguments.interestd, folder
        self.kills, self.events, self.seed = arguments.kills, 0, 0
        self.rng = random.Random(arguments.seed)

    def run(self):
        steps = Steps()
        with Broker(self.interestd, TOPICS) as broker:
            self.broker = broker
            self.config = merge(stream.config(), {
                "kafka.brokers": broker.brokers,
                "publish.gate_samples": 1,
                "publish.versions_kept": 2, "publish.bases_kept": 1,
                **{"learner." + key: value for key, value in SMALL.items()}})
            steps.run("one delta a process", self.short_lives)
            steps.run(f"{self.kills} kills", self.killed)

    # ---- helpers ------------------------------------------------------------

    def fill(self, pages):
        self.seed += 1
        with topics.Client(self.broker.brokers) as client:
            self.events += Stream(self.seed, pages).send(client)

    def daemon(self, name, **changes):
        daemon = Daemon(self.interestd, os.path.join(self.folder, name),
                        self.config, **changes)
        self.model = daemon.config["model_folder"]
        return daemon

    def applied(self, status):
        ingest = status["ingest"]
        return (ingest["events"] >= self.events and ingest["at_end"] and
                status["models"][0]["position"] >= ingest["batch_end"])

    def current(self):
        try:
            with open(os.path.join(self.model, "CURRENT"),
                      encoding="utf-8") as file:
                name = file.read().split()[0]
        except FileNotFoundError:
            return 0, 0
        return tuple(int(x) for x in name[1:].split("-"))

    def read(self):
        done = subprocess.run([sys.executable, "-B", READER, self.model],
                              capture_output=True, text=True)
        check(done.returncode == 0, f"reader: {done.stderr}")

    # ---- steps --------------------------------------------------------------

    def short_lives(self):
        daemon = self.daemon("short", **{"publish.delta_ms": 0,
                                         "publish.base_deltas": 2})
        for _ in range(3):
            self.fill(200)
            try:
                daemon.start()
                daemon.wait(self.applied, "all trained", 60)
                daemon.stop()
            finally:
                daemon.end()
            self.read()
        found = [os.path.basename(name) for name in
                 glob.glob(os.path.join(self.model, "b*"))]
        check(found == ["b%d-%d" % self.current()],
              f"a base and two deltas, the second with a base: {found}")

    def killed(self):
        daemon = self.daemon("killed", **{
            "publish.delta_ms": 5, "publish.base_deltas": 1,
            "learner.checkpoint_seconds": 0})
        before, moved = (0, 0), 0
        for _ in range(self.kills):
            try:
                daemon.start()
                self.fill(200)
                time.sleep(self.rng.random())
                daemon.kill()
            finally:
                daemon.end()
            now = self.current()
            check(now >= before, f"{now} after {before}")
            moved += now > before
            before = now
            if now != (0, 0):
                self.read()
        self.fill(200)
        try:
            daemon.start()
            daemon.wait(self.applied, "all trained", 60)
            daemon.stop()
        finally:
            daemon.end()
        self.read()
        check(self.current() > before, "nothing published at the end")
        say(f"  {moved} of {self.kills} lives published; "
            f"{self.current()[1]} versions")


def test(arguments, folder):
    Test(arguments, folder).run()


if __name__ == "__main__":
    import argparse
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--kills", type=int, default=4)
    options.add_argument("--seed", type=int, default=1)
    paths.main(test, options)
