#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example producers of tests/examples/producers, in C, Python and Java,
each with its own public client and Avro library, on Apache Kafka (the mock
cluster does not get along with Java's client):

1. all three show the same users pages and click; a user is in one partition
   whoever sent the event, and the daemon's ledger has every record where
   schemas/producers.md says;
2. what was sent is sent again as it was: all of it is `duplicate`;
3. an hour too late it is `late`, with new ids: nothing else changes."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
import apicurio
import kafka
import stream
import topics
from daemon import Daemon, check, merge
from paths import Steps, say

PARTITIONS = 4
USERS = [f"user{n}" for n in range(12)]
PRODUCERS = os.path.join(paths.TESTS, "examples", "producers")


def commands(build):
    """What runs each producer, but for its arguments."""
    jars = ":".join(os.path.join(folder, "*")
                    for folder in (kafka.fetch(), kafka.fetch_avro()))
    return {
        "C": [os.path.join(build, "tests", "examples", "example_producer")],
        "Python": [apicurio.client(), "-B",
                   os.path.join(PRODUCERS, "producer.py")],
        "Java": ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                 "-XX:TieredStopAtLevel=1", "-cp", jars,
                 os.path.join(PRODUCERS, "Producer.java")]}


class Test:
    def __init__(self, interestd, folder):
        build = os.path.dirname(os.path.dirname(interestd))
        self.programs = commands(build)
        self.interestd, self.folder = interestd, folder

    def run(self):
        steps = Steps()
        with kafka.Kafka() as self.broker:
            with topics.Client(self.broker.brokers) as client:
                client.create(PARTITIONS, *stream.TOPICS)
            for name, command in self.programs.items():
                steps.run(f"the producer in {name}", self.produce, command)
            steps.run("where each user is", self.places)
            self.daemon = Daemon(self.interestd, self.folder, merge(
                stream.config(), {
                    "kafka.brokers": self.broker.brokers,
                    "kafka.announcement_topic": "",
                    # Labels at once: no event after these closes them.
                    "ingest.label_mode": "fnw",
                    "ingest.lateness_ms": 600_000}))
            try:
                self.daemon.start()
                steps.run("the ledger", self.ledger)
                steps.run("sent twice", self.twice)
                steps.run("an hour too late", self.late)
                self.daemon.stop()
            finally:
                self.daemon.end()

    def produce(self, command):
        done = subprocess.run(
            [*command, self.broker.brokers, stream.SCHEMAS, *USERS],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=120)
        check(done.returncode == 0, f"exit status {done.returncode}: "
                                    f"{done.stdout[-2000:]}")

    def places(self):
        self.logs = topics.read_logs(self.broker.brokers, stream.TOPICS)
        counts, where = {}, {}
        for (topic, partition), log in self.logs.items():
            counts[topic] = counts.get(topic, 0) + len(log)
            for _, _, value in log:
                user, = [x for x in USERS
                         if f"{chr(2 * len(x))}{x}".encode() in value]
                where.setdefault(user, set()).add(partition)
        pages = len(self.programs) * len(USERS)
        check(counts == {0: 5 * pages, 1: pages},
              f"records {counts}")
        check(all(len(x) == 1 for x in where.values()), f"users in {where}")
        check(len(set.union(*where.values())) > 1, "only one partition is used")
        self.pages = pages

    def buckets(self, events):
        status = self.daemon.wait_applied(events, 120)["ingest"]
        check(status["unaccounted"] == 0, "unaccounted offsets")
        check(status["crossed_partitions"] == 0, "a user in two partitions")
        return {k: v for k, v in status["buckets"].items() if v}

    def ledger(self):
        found = self.buckets(6 * self.pages)
        self.expected = {"negative": 5 * self.pages, "positive": self.pages}
        check(found == self.expected, f"ledger {found}")

    def twice(self):
        with topics.Client(self.broker.brokers) as client:
            for (topic, partition), log in self.logs.items():
                for _, stamp, value in log:
                    client.send(stream.TOPICS[topic], value, key=b"again",
                                partition=partition, timestamp_ms=stamp)
            client.flush()
        found = self.buckets(12 * self.pages)
        self.expected["duplicate"] = 6 * self.pages
        check(found == self.expected, f"ledger {found}")

    def late(self):
        now = max(stamp for log in self.logs.values() for _, stamp, _ in log)
        with topics.Client(self.broker.brokers) as client:
            for (topic, partition), log in self.logs.items():
                for offset, stamp, _ in log:
                    name = f"late-{partition}-{offset}"
                    client.send(stream.TOPICS[topic], stream.encode(
                        topic, {
                            "impression_id": name, "user_id": f"late{partition}",
                            "event_ms": now - 3_600_000, "gender": None,
                            "age_level": None, "goods": "g", "shop": "s",
                            "cate": "c", "pid": None}), key=b"again",
                        partition=partition, timestamp_ms=stamp)
            client.flush()
        found = self.buckets(18 * self.pages)
        self.expected["late"] = found.get("late")
        say(f"  {found}")
        check(found == self.expected and found["late"] == 6 * self.pages,
              f"ledger {found}")


def test(arguments, folder):
    Test(arguments.interestd, folder).run()


if __name__ == "__main__":
    paths.main(test)
