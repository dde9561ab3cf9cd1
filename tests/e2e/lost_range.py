#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a broker no longer has, on Apache Kafka:

1. retention overtakes a stopped daemon: it names the exact range and the
   command, stops that pair of partitions, and the others go on;
2. `interestd skip` says what is lost, changes nothing without --yes, is
   refused beside a running daemon; after it everything left is applied;
3. a topic deleted and made anew while the daemon was down, with fewer and with
   more records than were read: noticed in every partition, then taken from its
   beginning; what was sent once more to the new one is not trained again.
Throughout: no offset unaccounted for, and ledger, sequences and samples equal
to the model's, which is given the floors and stops that were recorded.
Exit status 77 where Kafka cannot be obtained."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from daemon import Daemon, check, compare, dump, merge
from kafka import Kafka
from paths import Steps, say
import parts
import stream
import topics

PARTITIONS = 3
LOST = (0, 1)  # impressions/1
KEYS = parts.keys(PARTITIONS)


class Test:
    def __init__(self, arguments, folder, kafka):
        self.interestd, self.kafka = arguments.interestd, kafka
        self.folder, self.steps = folder, Steps()
        self.config = merge(stream.config(), {"kafka.brokers": kafka.brokers})
        self.daemon = Daemon(self.interestd, os.path.join(folder, "daemon"),
                             self.config)
        self.model = parts.Model(self.config, os.path.join(folder, "model"), KEYS)
        records = stream.Stream(5, arguments.pages).in_order()
        size = len(records) // 4
        self.parts = [records[i * size:(i + 1) * size] for i in range(4)]
        self.logs = {key: [] for key in KEYS}  # as the broker ever had them
        self.read = dict.fromkeys(KEYS, 0)     # offsets applied
        self.decided = self.applied = 0

    def run(self):
        with topics.Client(self.kafka.brokers) as self.client:
            self.client.create(PARTITIONS, *stream.TOPICS)
            self.client.create(1, "model-announcements")
            self.send(self.parts[0])
        self.steps.run("all is well", self.go_on)
        self.steps.run("retention overtakes it while it is down", self.lose)
        self.steps.run("it says so, the others go on", self.stopped_pair)
        self.steps.run("resume", self.resume)
        self.steps.run("what is left is applied", self.go_on)
        self.steps.run("the topic of impressions is made anew", self.anew)
        self.steps.run("every pair stops", self.all_stopped)
        self.steps.run("the new topic is taken", self.take_anew)
        self.steps.run("and read to its end", self.go_on)

    # ---- the topics ----------------------------------------------------

    def send(self, records):
        for topic, user, kafka_ms, record in records:
            self.client.send(stream.TOPICS[topic],
                             stream.encode(topic, record), key=user.encode(),
                             timestamp_ms=kafka_ms,
                             partition=int(user[1:]) % PARTITIONS)
        self.client.flush()
        self.logs = topics.read_logs(self.kafka.brokers, stream.TOPICS)

    def ahead(self, without=()):
        """What the logs hold behind what is applied, as the next part."""
        part = {key: [x for x in log if x[0] >= self.read[key]]
                for key, log in self.logs.items() if key[1] not in without}
        for key, log in part.items():
            if log:
                self.read[key] = log[-1][0] + 1
        return part

    # ---- the daemon ----------------------------------------------------

    def decisions(self):
        lines = self.daemon.inspect("decisions")
        fresh = [json.loads(line) for line in lines[self.decided:]]
        self.decided = len(lines)
        return fresh

    def apply(self, part, condition, what):
        """Runs the daemon until the part is applied; compares everything.
        Returns the last status."""
        self.applied += sum(map(len, part.values()))
        try:
            self.daemon.start()
            status = self.daemon.wait(
                lambda s: s["ingest"]["events"] == self.applied
                and condition(s), what, 60)
            check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
            self.while_running(status)
            self.daemon.stop()
        finally:
            self.daemon.end()
        self.model.part(part, self.decisions())
        self.model.write()
        out = os.path.join(self.folder, "out")
        dump(self.daemon, out)
        compare("model and daemon", self.model.output, out)
        return status

    def while_running(self, status):
        stopped = [x for x in status["ingest"]["partitions"] if x["stopped"]]
        if not stopped:
            return
        check(not status["ready"], "ready with a stopped partition")
        beside = self.command(stopped[0]["resume"])
        check(beside.returncode == 69
              and "stop the daemon first" in beside.stderr,
              f"resume beside a running daemon: {beside}")

    def go_on(self):
        status = self.apply(self.ahead(), lambda s: s["ingest"]["at_end"],
                            "the end of the topics")
        check(status["ready"], "not ready")

    def command(self, words, *more):
        """The command that status and log give."""
        program, *arguments = shlex.split(words)
        check(program == "interestd", f"no command: {words}")
        return subprocess.run([self.interestd, *arguments, *more],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=120)

    # ---- retention -----------------------------------------------------

    def lose(self):
        with topics.Client(self.kafka.brokers) as self.client:
            self.send(self.parts[1])
            self.lost_from = self.read[LOST]
            self.lost_to = self.lost_from + \
                (self.logs[LOST][-1][0] - self.lost_from) // 2
            self.client.delete_records(stream.TOPICS[0], LOST[1],
                                       self.lost_to)
        begin = topics.read_log(self.kafka.brokers, stream.TOPICS[0],
                                LOST[1])[0][0]
        check(begin == self.lost_to, f"the log begins at {begin}")

    def stopped_pair(self):
        status = self.apply(
            self.ahead(without=LOST[1:]), lambda s: s["ingest"]["at_end"]
            and s["ingest"]["buckets"]["unlabelled"] > 0, "one pair to stop")
        found = {(x["topic"], x["partition"]): x
                 for x in status["ingest"]["partitions"]}
        check({key for key, x in found.items() if x["stopped"]} ==
              {(name, LOST[1]) for name in stream.TOPICS},
              "others have stopped too, or not both")
        lost = found[stream.TOPICS[0], LOST[1]]
        check((lost["lost_from"], lost["lost_to"]) ==
              (self.lost_from, self.lost_to), f"another range: {lost}")
        self.words = lost["resume"]
        check(f'resume="{self.words}"' in self.daemon.log(100_000),
              "the log does not name the command")
        say(f"  {lost['stop_reason']}; {self.words}")

    def resume(self):
        before = self.daemon.inspect("ledger"), self.decisions()
        said = self.command(self.words)
        count = self.lost_to - self.lost_from
        check(said.returncode == 0 and "Nothing is changed yet" in said.stdout
              and f"lost: offsets {self.lost_from} to {self.lost_to - 1}, "
                  f"{count} of them" in said.stdout, f"said: {said}")
        check((self.daemon.inspect("ledger"), self.decisions())
              == (before[0], []), "changed without --yes")
        done = self.command(self.words, "--yes")
        check(done.returncode == 0, f"resume: {done}")
        decided = self.decisions()
        check([(x["kind"], x["text"]) for x in decided] ==
              [("skipped", f"lost [{self.lost_from}, {self.lost_to})")],
              f"decided: {decided}")
        self.model.model.skip(LOST, self.lost_to)
        self.read[LOST] = self.lost_to
        with topics.Client(self.kafka.brokers) as self.client:
            self.send(self.parts[2])

    # ---- a topic made anew ---------------------------------------------

    def anew(self):
        """Partition 0 gets again what it had, behind what is new: more than
        was read, and other records at the same offsets."""
        again = [x for x in self.parts[0] + self.parts[1] + self.parts[2]
                 if x[0] == 0 and int(x[1][1:]) % PARTITIONS == 0]
        with topics.Client(self.kafka.brokers) as client:
            client.delete(stream.TOPICS[0])
            client.create(PARTITIONS, stream.TOPICS[0])
        with topics.Client(self.kafka.brokers) as self.client:
            self.send(self.parts[3] + again)
        held = {key: len(log) for key, log in self.logs.items()}
        check(held[0, 0] > self.read[0, 0] and held[0, 2] < self.read[0, 2],
              f"not what was to be tried: {held}, {self.read}")

    def all_stopped(self):
        status = self.apply(
            {}, lambda s: s["ingest"]["partitions"]
            and all(x["stopped"] for x in s["ingest"]["partitions"])
            and s["ingest"]["buckets"]["waiting"] == 0, "all pairs to stop")
        for one in status["ingest"]["partitions"]:
            check(one["topic"] == "clicks" or
                  (one["lost_from"], one["lost_to"]) ==
                  (self.read[0, one["partition"]], -1), f"range: {one}")
        self.words = status["ingest"]["partitions"][0]["resume"]

    def take_anew(self):
        words = re.sub(r"--partition \d+", "--partition all", self.words)
        done = self.command(words, "--yes")
        check(done.returncode == 0 and done.stdout.count("another log") ==
              PARTITIONS, f"resume: {done}")
        check([x["kind"] for x in self.decisions()] ==
              PARTITIONS * ["skipped"], "decisions")
        for number in range(PARTITIONS):
            self.model.model.skip((0, number), 0, start=0)
            self.read[0, number] = 0


def test(arguments, folder):
    with Kafka() as kafka:
        say("Apache Kafka runs")
        Test(arguments, folder, kafka).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=2000)
    paths.main(test, options)
