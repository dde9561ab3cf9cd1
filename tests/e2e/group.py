#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two daemons in one consumer group (kafka.assignment: group), on Apache
Kafka: one alone, the second joins, is killed, comes back; the first leaves in
order and comes back; two that are given the same group.instance.id.

Each has a state of its own. After every step: each reads its partitions to
their ends; its ledger has no gap and no double; together they cover every
offset; and ledger, sequences and samples of each equal those of the model that
is given its hand-overs and floors.
Exit status 77 where Kafka cannot be obtained."""

import argparse
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from daemon import Daemon, check, compare, dump, merge
from kafka import Kafka
from paths import Steps, say
import parts
import stream
import topics

PARTITIONS = 4
ALL = set(range(PARTITIONS))


class Member:
    def __init__(self, test, name, session_ms, **properties):
        self.name, self.folder = name, os.path.join(test.folder, name)
        self.daemon = Daemon(
            test.interestd, self.folder,
            merge(stream.config(), {
                "kafka.brokers": test.kafka.brokers,
                "kafka.group": "rankers", "kafka.assignment": "group",
                "model_name": name, "learner.checkpoint_seconds": 60,
                "publish.delta_ms": 0,
                "kafka.properties": {"session.timeout.ms": session_ms,
                                     "heartbeat.interval.ms": 300,
                                     **properties}}))
        self.model = parts.Model(self.daemon.config,
                                 os.path.join(self.folder, "expected"), ())
        self.read, self.decided, self.kinds = {}, 0, {}

    def owns(self, numbers):
        """Until just these are its own, or so many; which."""
        def there(status):
            group = status["ingest"]["group"]
            return group and group["state"] == "member" and (
                set(group["numbers"]) == numbers
                if isinstance(numbers, set)
                else len(group["numbers"]) == numbers)
        status = self.daemon.wait(there, f"{self.name} to own {numbers}", 40)
        return set(status["ingest"]["group"]["numbers"])

    def catch_up(self, logs, numbers):
        """To the ends of these; everything compared."""
        ends = {(x, y): logs[x, y][-1][0] + 1 for x in (0, 1)
                for y in numbers if logs[x, y]}

        def there(status):
            found = {(stream.TOPICS.index(x["topic"]), x["partition"]):
                     x["next"] for x in status["ingest"]["partitions"]}
            return all(found.get(key) == end for key, end in ends.items())
        status = self.daemon.wait(there, f"{self.name} at its ends", 60)
        parts.sound(status)
        self.compare(logs)
        return status

    def compare(self, logs):
        part = {}
        for line in self.daemon.inspect("ledger"):
            one = json.loads(line)
            if "topic" not in one:
                continue
            key = stream.TOPICS.index(one["topic"]), one["partition"]
            if key not in self.read:
                self.model.start(key)
                self.read[key] = 0
            check(one["start"] == 0, f"starts at {one['start']}")
            check(sum(one["buckets"].values()) == one["next"], f"sum: {line}")
            part[key] = [x for x in logs[key]
                         if self.read[key] <= x[0] < one["next"]]
            check(len(part[key]) == one["next"] - self.read[key],
                  f"{self.name}: offsets of {key} that the log has not")
            self.read[key] = one["next"]
        lines = [json.loads(x) for x in self.daemon.inspect("decisions")]
        for one in lines[self.decided:]:
            self.kinds[one["kind"]] = self.kinds.get(one["kind"], 0) + 1
        self.model.part(part, lines[self.decided:])
        self.decided = len(lines)
        self.model.write()
        out = os.path.join(self.folder, "out")
        dump(self.daemon, out)
        compare(self.name, self.model.output, out)


class Test:
    def __init__(self, arguments, folder, kafka):
        self.interestd, self.kafka = arguments.interestd, kafka
        self.folder, self.steps = folder, Steps()
        # The first is never killed: who waits for its session to end, waits
        # longer than this test does.
        self.first = Member(self, "first", 300_000)
        self.second = Member(self, "second", 1500)
        self.members = [self.first, self.second]
        records = stream.Stream(21, arguments.pages).in_order()
        size = len(records) // 6 + 1
        self.parts = [records[at:at + size]
                      for at in range(0, len(records), size)]

    def run(self):
        with topics.Client(self.kafka.brokers) as client:
            client.create(PARTITIONS, *stream.TOPICS)
            client.create(1, "model-announcements")
        try:
            run = self.steps.run
            run("one alone", self.alone)
            run("a second one joins", self.joins)
            run("it is killed: the first has all", self.killed)
            run("it comes back", self.back)
            run("the first leaves in order", self.leaves)
            run("and comes back", self.again)
            run("what the group is told", self.told)
            run("fenced", self.fenced)
        finally:
            for member in self.members:
                member.daemon.end()

    def send(self):
        with topics.Client(self.kafka.brokers) as client:
            for topic, user, kafka_ms, record in self.parts.pop(0):
                client.send(stream.TOPICS[topic],
                            stream.encode(topic, record), key=user.encode(),
                            timestamp_ms=kafka_ms,
                            partition=int(user[1:]) % PARTITIONS)
            client.flush()

    def logs(self):
        return topics.read_logs(self.kafka.brokers, stream.TOPICS)

    def both(self):
        """Shared out, and read to the ends."""
        mine = self.first.owns(PARTITIONS // 2)
        yours = self.second.owns(ALL - mine)
        self.send()
        logs = self.logs()
        self.first.catch_up(logs, mine)
        self.second.catch_up(logs, yours)
        self.covered(logs)

    def covered(self, logs):
        for key, log in logs.items():
            read = [member.read.get(key, 0) for member in self.members]
            check(max(read) == log[-1][0] + 1, f"{key}: read up to {read}")

    # ---- steps ---------------------------------------------------------

    def alone(self):
        self.first.daemon.start()
        self.first.owns(ALL)
        self.send()
        self.first.catch_up(self.logs(), ALL)

    def joins(self):
        self.second.daemon.start()
        self.both()
        check(self.first.kinds.get("revoked") == PARTITIONS,
              f"decisions of the first: {self.first.kinds}")
        status = self.first.daemon.status()["ingest"]["group"]
        check(status["assignments"] == 2 and status["losses"] == 0,
              f"status: {status}")
        check("interestd_ingest_group_numbers 2\n"
              in self.first.daemon.page("/metrics"), "metric")

    def killed(self):
        self.send()
        self.second.daemon.kill()
        self.first.owns(ALL)
        logs = self.logs()
        self.first.catch_up(logs, ALL)
        self.covered(logs)

    def back(self):
        self.second.daemon.start()
        self.both()

    def leaves(self):
        self.first.daemon.stop()
        self.second.owns(ALL)
        self.send()
        self.second.catch_up(self.logs(), ALL)

    def again(self):
        self.first.daemon.start()
        self.both()
        say(f"  decisions: {self.first.kinds}, {self.second.kinds}")

    def told(self):
        """Offsets in the group, as its tools see them."""
        logs = self.logs()
        for member in self.members:
            member.daemon.wait(lambda s: s["ingest"]["at_end"], "the end", 30)
        names = [(stream.TOPICS[topic], number) for topic, number in logs]
        ends = [log[-1][0] + 1 for log in logs.values()]
        limit = time.monotonic() + 20
        told = None
        while told != ends and time.monotonic() < limit:
            told = topics.group_offsets(self.kafka.brokers, "rankers", names)
        check(told == ends, f"told {told}, the logs end at {ends}")

    def fenced(self):
        """Two with one name: the older is fenced, says so and stays."""
        for member in self.members:
            member.daemon.stop()
        twins = [Member(self, name, 3000, **{"group.instance.id": "twin"})
                 for name in ("twin-1", "twin-2")]
        self.members += twins
        twins[0].daemon.start()
        twins[0].owns(ALL)
        twins[1].daemon.start()
        twins[0].daemon.wait(
            lambda s: s["ingest"]["group"]
            and s["ingest"]["group"]["losses"] > 0, "the older fenced", 40)
        check("event=group_fenced" in twins[0].daemon.log(1_000_000), "log")
        twins[1].daemon.stop()
        twins[0].owns(ALL)
        twins[0].catch_up(self.logs(), ALL)


def test(arguments, folder):
    with Kafka() as kafka:
        say("Apache Kafka runs")
        Test(arguments, folder, kafka).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=900)
    paths.main(test, options)
