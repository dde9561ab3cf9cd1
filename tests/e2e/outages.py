#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Errors of brokers on the mock cluster, each while the daemon reads a part of
a stream in small fetches: refused requests of every kind that it makes, cut
connections, partitions without a leader or with another one, a coordinator
that moves, slow and dead brokers. The daemon stays, says that it is in
trouble where it is, and catches up by itself: no offset is missed or doubled,
and ledger, sequences and samples equal the model's after each.
With --rounds N the whole is done N times."""

import argparse
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, merge
from paths import Steps
import parts
import stream
import topics

PARTITIONS = 3
TOPICS = f"impressions:{PARTITIONS},clicks:{PARTITIONS}"
FETCH, LIST_OFFSETS, METADATA, OFFSET_COMMIT, FIND_COORDINATOR = 1, 2, 3, 8, 10
CUT = -195


def errors(api, *codes, count=4):
    return [f"errors {api} {count} {code}" for code in codes]


def no_more(*apis):
    return [f"errors {api} 0 0" for api in apis]


LEADERLESS = [f"leader {topic} 1 -1" for topic in stream.TOPICS]
# Name, what happens, what ends it, and whether it must be said.
FAULTS = (
    ("fetches are refused, connections cut",
     errors(FETCH, 3, 5, CUT, 6, 7, CUT, 56), no_more(FETCH), False),
    ("no ends, no metadata, no coordinator",
     errors(LIST_OFFSETS, 3, 5, 6, 7, CUT, count=8)
     + errors(METADATA, 5, 7, CUT) + errors(FIND_COORDINATOR, 15, 14, CUT)
     + errors(OFFSET_COMMIT, 16, 14, 15) + ["coordinator interestd 2"],
     no_more(LIST_OFFSETS, METADATA, FIND_COORDINATOR, OFFSET_COMMIT), False),
    ("a pair of partitions has no leader", LEADERLESS,
     ["leader impressions 1 1", "leader clicks 1 2"], True),
    ("leaders change, brokers are slow",
     ["leader impressions 0 1", "leader clicks 0 2", "rtt 1 1200",
      "rtt 2 1200"], ["rtt 1 0", "rtt 2 0"], False),
    ("one broker is dead", ["down 1"], ["up 1"], True),
    ("all brokers are dead", ["down 1", "down 2"], ["up 1", "up 2"], True),
)


class Test:
    def __init__(self, arguments, folder, broker):
        self.broker, self.steps = broker, Steps()
        config = merge(stream.config(), {
            "kafka.brokers": broker.brokers,
            "kafka.announcement_topic": "",
            # The mock answers only when this is over.
            "kafka.properties": {"fetch.message.max.bytes": 4096,
                                 "fetch.wait.max.ms": 10}})
        self.daemon = Daemon(arguments.interestd,
                             os.path.join(folder, "daemon"), config)
        self.follower = parts.Follower(self.daemon, folder, PARTITIONS)
        records = stream.Stream(21, arguments.pages
                                * arguments.rounds).in_order()
        steps = 1 + len(FAULTS) * arguments.rounds
        size = len(records) // steps + 1
        self.parts = [records[at:at + size]
                      for at in range(0, len(records), size)]
        self.rounds = arguments.rounds

    def run(self):
        try:
            self.daemon.start()
            self.steps.run("all is well", self.part)
            for _ in range(self.rounds):
                for name, begin, end, said in FAULTS:
                    self.steps.run(name, self.part, begin, end, said)
        finally:
            self.daemon.end()

    def part(self, begin=(), end=(), said=False):
        with topics.Client(self.broker.brokers) as client:
            for topic, user, kafka_ms, record in self.parts.pop(0):
                client.send(stream.TOPICS[topic],
                            stream.encode(topic, record), key=user.encode(),
                            timestamp_ms=kafka_ms,
                            partition=int(user[1:]) % PARTITIONS)
            client.flush()
        logs = topics.read_logs(self.broker.brokers, stream.TOPICS)
        for command in begin:
            self.broker.tell(command)
        if said:
            self.daemon.wait(lambda s: s["ingest"]["broker_error"],
                             "the trouble to be said", 30)
        elif end:
            time.sleep(1)
        for command in end:
            self.broker.tell(command)
        check(self.daemon.process.poll() is None, "the daemon has ended")
        self.follower.catch_up(logs)


def test(arguments, folder):
    with Broker(arguments.interestd, TOPICS, brokers=2) as broker:
        Test(arguments, folder, broker).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=500)
    options.add_argument("--rounds", type=int, default=1)
    paths.main(test, options)
