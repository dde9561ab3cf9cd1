#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon on a small disk of its own (a tmpfs, so root is needed; 77
elsewhere) that somebody else fills up:

1. below the reserve the intake stops before any write has failed: /readyz
   says no, status and metrics say why, the process lives; with room again it
   goes on by itself, to the same bits as on a large disk;
2. without a reserve the disk runs full: the daemon ends with an exit status
   of its own (74, or 76 where a cap was met), and goes on where it had
   committed once there is room, to the same bits;
3. a disk that cannot hold what the configuration allows is refused at start
   with the sum of the parts."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, Failure, check, merge
from kafka import Unavailable
from paths import Steps, say
import stream
import topics

TOPICS = "impressions:4,clicks:4,model-announcements:1"
DISK_MB, RESERVE_MB = 96, 32


class Disk:
    """A tmpfs at `folder`, which a file may fill up."""

    def __init__(self, folder):
        self.folder, self.hog = folder, os.path.join(folder, "hog")
        os.makedirs(folder)

    def __enter__(self):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o",
                               f"size={DISK_MB}m", "tmpfs", self.folder],
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Unavailable(f"no tmpfs: {done.stderr.strip()}")
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", "-l", self.folder], check=True)

    def fill(self, leave_kb):
        info = os.statvfs(self.folder)
        size = info.f_bavail * info.f_frsize - (leave_kb << 10)
        with open(self.hog, "wb", buffering=0) as file:
            try:
                for _ in range(max(0, size) >> 16):
                    file.write(bytes(1 << 16))
            except OSError:
                pass  # the daemon took the rest meanwhile

    def clear(self):
        os.unlink(self.hog)


class Test:
    def __init__(self, interestd, folder):
        self.interestd, self.folder = interestd, folder

    def run(self):
        if os.geteuid() != 0:
            raise Unavailable("a disk of its own needs root")
        steps = Steps()
        with Broker(self.interestd, TOPICS) as self.broker:
            self.config = merge(stream.config(), {
                "kafka.brokers": self.broker.brokers,
                "ingest.commit_events": 100, "ingest.disk_check": False,
                "kafka.properties": {"fetch.message.max.bytes": 2048}})
            with topics.Client(self.broker.brokers,
                               **{"batch.num.messages": 100}) as client:
                self.events = stream.Stream(6, 4000).send(client)
            steps.run("a large disk", self.large)
            with Disk(os.path.join(self.folder, "reserve")) as disk:
                steps.run("below the reserve", self.reserve, disk)
            with Disk(os.path.join(self.folder, "full")) as disk:
                steps.run("full", self.full, disk)
            with Disk(os.path.join(self.folder, "small")) as disk:
                steps.run("too small for the configuration", self.small, disk)

    def finish(self, daemon):
        status = daemon.wait_trained(self.events, 300)
        check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
        daemon.stop()
        found = daemon.checkpoint()
        return found["position"], found["digest"]

    def large(self):
        daemon = Daemon(self.interestd, os.path.join(self.folder, "large"),
                        self.config)
        try:
            daemon.start()
            self.weights = self.finish(daemon)
        finally:
            daemon.end()

    def same(self, weights):
        check(weights == self.weights,
              f"weights {weights}, not {self.weights}")

    @staticmethod
    def ready(daemon):
        try:
            with urllib.request.urlopen(daemon.url("/readyz"),
                                        timeout=10) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False

    @staticmethod
    def metric(daemon, name):
        with urllib.request.urlopen(daemon.url("/metrics"),
                                    timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.split(" ")[0] == "interestd_" + name:
                    return float(line.split(" ")[1])
        raise Failure(f"no metric {name}")

    def reserve(self, disk):
        self.broker.tell("rtt 1 60")
        daemon = Daemon(self.interestd, os.path.join(disk.folder, "daemon"),
                        self.config, **{"ingest.disk_reserve_mb": RESERVE_MB})
        try:
            daemon.start()
            daemon.wait(lambda s: s["ingest"]["events"] > 500, "500 events")
            check(self.ready(daemon), "/readyz of a daemon that is well")
            disk.fill((RESERVE_MB - 8) << 10)
            status = daemon.wait(lambda s: s["ingest"]["disk_low"],
                                 "the mark")
            stood = status["ingest"]["events"]
            check(stood < self.events, "all was applied already")
            self.broker.tell("rtt 1 0")
            time.sleep(1)
            status = daemon.status()
            rest = status["ingest"]["events"] - stood
            check(rest <= 200, f"{rest} events were applied all the same")
            check(not self.ready(daemon) and not status["ready"],
                  "/readyz below the mark")
            check(self.metric(daemon, "ingest_disk_low") == 1, "the metric")
            free = status["ingest"]["disk_free_bytes"]
            check(RESERVE_MB << 19 < free < RESERVE_MB << 20,
                  f"{free} bytes are free")
            disk.clear()
            weights = self.finish(daemon)
            check("event=disk_low" in daemon.log(1 << 20) and
                  "event=disk_has_room" in daemon.log(1 << 20), "the log")
        finally:
            daemon.end()
        self.same(weights)
        say(f"  stood at {stood} of {self.events} events")

    def full(self, disk):
        self.broker.tell("rtt 1 60")
        daemon = Daemon(self.interestd, os.path.join(disk.folder, "daemon"),
                        self.config, **{"ingest.disk_reserve_mb": 0})
        try:
            daemon.start()
            daemon.wait(lambda s: s["ingest"]["events"] > 500, "500 events")
            disk.fill(64)
            code = daemon.process.wait(120)
            said = daemon.log()
            check(code == 74 and "disk is full" in said,
                  f"exit status {code}: {said}")
            disk.clear()
            self.broker.tell("rtt 1 0")
            daemon.start()
            weights = self.finish(daemon)
        finally:
            daemon.end()
        self.same(weights)

    def small(self, disk):
        daemon = Daemon(self.interestd, os.path.join(disk.folder, "daemon"),
                        self.config, **{"ingest.disk_check": True})
        done = daemon.call("run")
        check(done.returncode == 78 and "journal" in done.stderr and
              "MiB" in done.stderr, f"{done.returncode}: {done.stderr}")
        say("  " + done.stderr.strip().splitlines()[-1])


def test(arguments, folder):
    Test(arguments.interestd, folder).run()


if __name__ == "__main__":
    paths.main(test)
