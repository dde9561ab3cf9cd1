#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon under pressure, on the mock cluster: one topic whose broker is so
slow that the other lies hours of event time ahead, and a disk on which every
sync takes long (a preloaded library). In both the backlog stays in Kafka and
is visible in the status, the peak of resident memory (VmHWM) stays near that
of an easy run though the backlog is far larger than the room it has, and the
state and the weights end as those of the easy run."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, compare, dump, merge
from kafka import Unavailable
from paths import Steps, say
import stream
import topics

TOPICS = "impressions:4,clicks:4,model-announcements:1"
PAD = 700       # bytes more in each impression
ROOM_MIB = 10  # above the easy run: 8 queues of 1 MiB, and slack


class Test:
    def __init__(self, interestd, folder, pages, slow):
        self.interestd, self.folder = interestd, folder
        self.pages, self.slow = pages, slow

    def run(self):
        steps = Steps()
        with Broker(self.interestd, TOPICS, brokers=2) as self.broker:
            self.config = merge(stream.config(), {
                "kafka.brokers": self.broker.brokers,
                "kafka.properties": {"queued.max.messages.kbytes": 1024,
                                     "fetch.message.max.bytes": 65536}})
            steps.run("fill the topics", self.fill)
            steps.run("an easy run", self.easy)
            steps.run("impressions hours ahead of clicks", self.ahead)
            steps.run("a slow disk", self.slow_disk)

    def fill(self):
        source = stream.Stream(8, self.pages)
        for topic, _, _, record in source.records:
            if topic == 0:
                record["pid"] += "-" * PAD
        with topics.Client(self.broker.brokers, **{
                "batch.num.messages": 20}) as client:
            self.events = source.send(client)
        stamps = [record["event_ms"] for *_, record in source.records]
        self.shown = sum(1 for topic, *_ in source.records if topic == 0)
        self.hours = (max(stamps) - min(stamps)) / 3.6e6
        say(f"  {self.events} events over {self.hours:.1f} h, "
            f"{self.shown * PAD >> 20} MiB of impressions")

    def finish(self, daemon):
        status = daemon.wait_trained(self.events, 100)
        check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
        peak = daemon.peak_memory()
        daemon.stop()
        out = os.path.join(daemon.folder, "out")
        dump(daemon, out)
        found = daemon.checkpoint()
        return out, (found["position"], found["digest"]), peak

    def easy(self):
        daemon = Daemon(self.interestd, os.path.join(self.folder, "easy"),
                        self.config)
        try:
            daemon.start()
            self.out, self.weights, self.peak = self.finish(daemon)
        finally:
            daemon.end()
        say(f"  VmHWM {self.peak:.1f} MiB")

    def same(self, title, out, weights, peak):
        compare(title, self.out, out)
        check(weights == self.weights,
              f"{title}: weights {weights}, not {self.weights}")
        check(peak < self.peak + ROOM_MIB,
              f"{title}: VmHWM {peak:.1f} MiB, the easy run's "
              f"{self.peak:.1f}")
        say(f"  {title}: VmHWM {peak:.1f} MiB")

    def ahead(self):
        for partition in range(4):
            self.broker.tell(f"leader impressions {partition} 1")
            self.broker.tell(f"leader clicks {partition} 2")
        self.broker.tell("rtt 2 300")
        daemon = Daemon(self.interestd, os.path.join(self.folder, "ahead"),
                        self.config, **{"kafka.properties": {
                            "queued.max.messages.kbytes": 1024,
                            "fetch.message.max.bytes": 1024}})
        try:
            daemon.start()
            status = daemon.wait(lambda s: s["ingest"]["events"] > 500 and
                                 s["ingest"]["lag_records"] > 0,
                                 "events and a lag")
            check(status["ingest"]["events"] < self.events,
                  "all was applied already")
            say(f"  lag {status['ingest']['lag_records']} records at "
                f"{status['ingest']['events']} events")
            self.broker.tell("rtt 2 5")
            done = self.finish(daemon)
        finally:
            self.broker.tell("rtt 2 0")
            daemon.end()
        self.same("one topic ahead", *done)

    def slow_disk(self):
        if not self.slow or not os.path.exists(self.slow):
            raise Unavailable("no library that slows syncs was built")
        daemon = Daemon(self.interestd, os.path.join(self.folder, "slow"),
                        self.config)
        before = dict(os.environ)
        os.environ.update(LD_PRELOAD=self.slow, SLOW_SYNC_MS="150")
        try:
            daemon.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        try:
            status = daemon.wait(
                lambda s: s["ingest"]["last_commit_us"] > 150_000 and
                s["ingest"]["lag_records"] > 0, "slow commits and a lag")
            say(f"  a commit takes {status['ingest']['last_commit_us']} us, "
                f"lag {status['ingest']['lag_records']}")
            done = self.finish(daemon)
        finally:
            daemon.end()
        self.same("a slow disk", *done)


def test(arguments, folder):
    Test(arguments.interestd, folder, arguments.pages, arguments.slow).run()


if __name__ == "__main__":
    options = paths.argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=4000)
    options.add_argument("--slow", help="libslow.so")
    paths.main(test, options)
