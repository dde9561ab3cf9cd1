#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Topics whose offsets have holes, on Apache Kafka:

1. producers with transactions, every third of them aborted: what was aborted
   is never applied, and neither the gaps nor the control records are losses;
2. a transaction that stays open: the daemon waits in front of it, says so in
   status, log and metrics, and goes on once it has ended;
3. a compacted topic, also where the last applied record itself is gone;
4. the same once more by a second daemon that is killed again and again.
Throughout: no partition stops, no offset is unaccounted for, and ledger,
sequences and samples equal the model's.
Exit status 77 where Kafka cannot be obtained."""

import argparse
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from daemon import (Daemon, check, compare, dump, kill_again_and_again,
                    merge)
from kafka import Kafka
from paths import Steps, say
import parts
import stream
import topics

PARTITIONS = 2
SIZE = 40  # records of a transaction


class Test:
    def __init__(self, arguments, folder, kafka):
        self.interestd, self.kafka = arguments.interestd, kafka
        self.folder, self.steps = folder, Steps()
        self.config = merge(stream.config(), {"kafka.brokers": kafka.brokers})
        self.daemon = Daemon(self.interestd, os.path.join(folder, "daemon"),
                             self.config)
        self.follower = parts.Follower(self.daemon, folder, PARTITIONS)
        records = stream.Stream(13, arguments.pages).in_order()
        size = len(records) // 3 + 1
        self.parts = [records[at:at + size]
                      for at in range(0, len(records), size)]

    def run(self):
        with topics.Client(self.kafka.brokers) as client:
            client.create(PARTITIONS, *stream.TOPICS, segment_bytes=20_000)
            client.create(1, "model-announcements")
        try:
            self.daemon.start()
            self.steps.run("transactions, some aborted", self.transactions)
            self.steps.run("one stays open", self.open)
            self.steps.run("a compacted topic", self.compacted)
            self.daemon.stop()
            self.steps.run("the same with kill -9", self.again)
        finally:
            self.daemon.end()

    def producer(self, name):
        client = topics.Client(self.kafka.brokers,
                               **{"transactional.id": name,
                                  "transaction.timeout.ms": 60_000})
        client.transaction("init")
        return client

    def put(self, client, records):
        for topic, user, kafka_ms, record in records:
            client.send(stream.TOPICS[topic], stream.encode(topic, record),
                        key=self.key(topic, record), timestamp_ms=kafka_ms,
                        partition=int(user[1:]) % PARTITIONS)

    @staticmethod
    def key(topic, record):
        """Few impressions and clicks share one: these are compacted."""
        return f"{topic}{record['event_ms'] % 50}".encode()

    def logs(self):
        return topics.read_logs(self.kafka.brokers, stream.TOPICS)

    # ---- 1 -------------------------------------------------------------

    def transactions(self):
        records, held, aborted = self.parts[0], 0, 0
        with self.producer("first") as client:
            for number, at in enumerate(range(0, len(records), SIZE)):
                client.transaction("begin")
                self.put(client, records[at:at + SIZE])
                client.flush()
                held += len(records[at:at + SIZE])
                if number % 3 == 2:
                    client.transaction("abort")
                    aborted += len(records[at:at + SIZE])
                else:
                    client.transaction("commit")
        logs = self.logs()
        self.first = logs
        given = sum(map(len, logs.values()))
        check(aborted > 0 and given <= held - aborted,
              f"{given} of {held} records, {aborted} of them aborted")
        status = self.follower.catch_up(logs)
        gaps = status["ingest"]["buckets"]["control"]
        say(f"  {given} committed, {aborted} aborted, {gaps} offsets without "
            "a record")
        check(gaps >= aborted, f"control: {gaps}, aborted: {aborted}")

    # ---- 2 -------------------------------------------------------------

    def waits(self, status):
        return [x for x in status["ingest"]["partitions"]
                if x["transaction_ms"] > 0]

    def open(self):
        """Behind the open transaction stand records of others, and in other
        partitions too."""
        records = self.parts[1]
        with self.producer("open") as client:
            client.transaction("begin")
            first = [x for x in records if x[0] == 0
                     and int(x[1][1:]) % PARTITIONS == 1][:1]
            self.put(client, first)
            client.flush()
            with topics.Client(self.kafka.brokers) as other:
                self.put(other, records)
            status = self.daemon.wait(self.waits, "the wait to be said", 60)
            found = self.waits(status)
            check([(x["topic"], x["partition"]) for x in found]
                  == [("impressions", 1)], f"waiting: {found}")
            check(not status["ingest"]["at_end"], "at the end")
            parts.sound(status)
            before = status["ingest"]["events"]
            self.daemon.wait(lambda s: "event=transaction_open" in
                             self.daemon.log(1_000_000), "the log's line", 60)
            check('interestd_ingest_partition_transaction_seconds{topic='
                  '"impressions",partition="1"} 0\n'
                  not in self.daemon.page("/metrics"), "metric")
            status = self.daemon.status()
            check(status["ingest"]["events"] == before
                  and self.waits(status), "it did not wait")
            say(f"  waits at {found[0]['next']} of {found[0]['high']}")
            client.transaction("abort")
        self.follower.catch_up(self.logs())
        self.daemon.wait(lambda s: not self.waits(s), "nothing to wait", 60)

    # ---- 3 -------------------------------------------------------------

    def length(self):
        return sum(map(len, self.logs().values()))

    def compacted(self):
        """Frozen, so that it finds holes where it goes on; the anchors go
        with what was compacted away."""
        self.daemon.stop()
        with topics.Client(self.kafka.brokers) as client:
            for _ in range(2):  # the newest segment is never compacted
                self.put(client, self.parts[2])
                client.flush()
            before, end = self.length(), time.monotonic() + 60
            client.alter(*stream.TOPICS, cleanup_policy="compact",
                         segment_bytes=20_000,
                         min_cleanable_dirty_ratio="0.01")
        while self.settled() == before:
            check(time.monotonic() < end, "the broker does not compact")
        logs = self.logs()
        held = {key: {x[0] for x in log} for key, log in logs.items()}
        gone = sum(offset - 1 not in held[key]
                   for key, offset in self.follower.read.items())
        say(f"  {before} records, {self.length()} after compaction; "
            f"{gone} anchors of {len(self.follower.read)} are gone")
        check(gone > 0, "no anchor is gone")
        self.daemon.start()
        status = self.follower.catch_up(logs)
        check(status["ready"], "not ready")

    def settled(self):
        before = -1
        while before != (now := self.length()):
            before = now
            time.sleep(1.5)
        return before

    # ---- 4 -------------------------------------------------------------

    def again(self):
        logs = self.logs()
        events = sum(map(len, logs.values()))
        second = parts.Model(self.config,
                             os.path.join(self.folder, "model2"),
                             parts.keys(PARTITIONS))
        daemon = Daemon(self.interestd, os.path.join(self.folder, "second"),
                        self.config)
        try:
            kill_again_and_again(daemon, 4, events, events // 2, 3)
            parts.sound(daemon.wait_applied(events, 90))
            daemon.stop()
        finally:
            daemon.end()
        second.part(logs, [json.loads(x)
                           for x in daemon.inspect("decisions")])
        second.write()
        out = os.path.join(self.folder, "out2")
        dump(daemon, out)
        compare("killed", second.output, out)


def test(arguments, folder):
    with Kafka() as kafka:
        say("Apache Kafka runs")
        Test(arguments, folder, kafka).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=450)
    paths.main(test, options)
