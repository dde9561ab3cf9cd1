#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What brokers do to a daemon that runs, on Apache Kafka:

1. all brokers stop, or are killed while it reads: it stays, says so, and goes
   on by itself;
2. topics get more partitions: they are read, as a recorded decision;
3. a batch is damaged on the broker's disk: that pair of partitions stops with
   the exact range, the others go on; `interestd skip` passes it over;
4. retention overtakes it: the exact range;
5. the topic is deleted and made anew, with as many records and more: noticed
   before one of them is applied;
6. another cluster stands at the same address: likewise; a start there is
   refused, until an operator accepts it.
Throughout: no offset unaccounted for, and ledger, sequences and samples equal
to the model's, which is given the floors and stops that were recorded.
Exit status 77 where Kafka cannot be obtained."""

import argparse
import json
import os
import shlex
import signal
import subprocess
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

PARTITIONS = 2
OTHER_CLUSTER = "b3RoZXItY2x1c3Rlci0tMQ"


class Test:
    def __init__(self, arguments, folder, kafka):
        self.interestd, self.kafka = arguments.interestd, kafka
        self.folder, self.steps = folder, Steps()
        self.config = merge(stream.config(), {
            "kafka.brokers": kafka.brokers,
            "learner.checkpoint_seconds": 60, "publish.delta_ms": 0})
        self.daemon = Daemon(self.interestd, os.path.join(folder, "daemon"),
                             self.config)
        self.partitions = PARTITIONS
        self.model = parts.Model(self.config, os.path.join(folder, "model"),
                                 parts.keys(PARTITIONS))
        self.read = dict.fromkeys(parts.keys(PARTITIONS), 0)
        self.decided = self.applied = 0
        self.damaged = None
        records = stream.Stream(9, arguments.pages).in_order()
        size = len(records) // 8 + 1
        self.parts = [records[at:at + size]
                      for at in range(0, len(records), size)]

    def run(self):
        with topics.Client(self.kafka.brokers) as client:
            client.create(PARTITIONS, *stream.TOPICS)
            client.create(1, "model-announcements")
        try:
            self.daemon.start()
            run = self.steps.run
            run("all is well", self.go_on)
            run("the broker stops and comes back", self.outage)
            run("the broker is killed while it is read", self.killed)
            run("topics get another partition", self.grow)
            run("a batch is damaged on disk", self.damage)
            run("what is damaged is passed over", self.resume)
            run("retention overtakes it", self.retention)
            run("the lost range is passed over", self.resume)
            run("the topic of impressions is made anew", self.anew)
            run("it is taken from its beginning", self.take_anew)
            run("another cluster at the same address", self.replace)
        finally:
            self.daemon.end()

    # ---- the topics ----------------------------------------------------

    def send(self, records=None, only=None):
        """The next part; `only`: (topic, partition) alone of it."""
        with topics.Client(self.kafka.brokers) as client:
            for topic, user, kafka_ms, record in \
                    self.parts.pop(0) if records is None else records:
                number = int(user[1:]) % self.partitions
                if only in (None, (topic, number)):
                    client.send(stream.TOPICS[topic],
                                stream.encode(topic, record),
                                key=user.encode(), timestamp_ms=kafka_ms,
                                partition=number)
            client.flush()

    def logs(self):
        return topics.read_logs(self.kafka.brokers, stream.TOPICS)

    # ---- the daemon ----------------------------------------------------

    def status(self):
        return self.daemon.status()["ingest"]["partitions"]

    def decisions(self):
        lines = self.daemon.inspect("decisions")
        fresh = [json.loads(line) for line in lines[self.decided:]]
        self.decided = len(lines)
        return fresh

    def compare(self, logs):
        """What was applied since the last look, of these logs, against the
        model. Returns the decisions recorded meanwhile."""
        ledger = [json.loads(x) for x in self.daemon.inspect("ledger")]
        part = {}
        for one in ledger:
            if "topic" not in one:
                continue
            key = stream.TOPICS.index(one["topic"]), one["partition"]
            part[key] = [x for x in logs.get(key, ())
                         if self.read[key] <= x[0] < one["next"]]
            self.read[key] = one["next"]
        decided = self.decisions()
        self.model.part(part, decided)
        self.model.write()
        self.applied += sum(map(len, part.values()))
        out = os.path.join(self.folder, "out")
        dump(self.daemon, out)
        compare("model and daemon", self.model.output, out)
        return decided

    def at_end(self, events):
        return self.daemon.wait(
            lambda s: s["ingest"]["at_end"]
            and s["ingest"]["events"] == events
            and s["ingest"]["unaccounted"] == 0, f"{events} events", 90)

    def catch_up(self):
        """To the end of the topics; everything compared."""
        logs = self.logs()
        ahead = sum(x[0] >= self.read[key] for key, log in logs.items()
                    for x in log)
        status = self.at_end(self.applied + ahead)
        self.compare(logs)
        return status

    def go_on(self):
        self.send()
        check(self.catch_up()["ready"], "not ready")

    def stopped(self, number, what):
        """Until that pair has stopped and the state says so; its status."""
        def there(status):
            found = [x for x in status["ingest"]["partitions"]
                     if x["partition"] == number]
            return all(x["stopped"] for x in found) and not any(
                x["buckets"].get("waiting") for x in found)
        status = self.daemon.wait(there, what, 90)
        check(not status["ready"], "ready with a stopped partition")
        self.words = status["ingest"]["partitions"][number]["resume"]
        log = self.daemon.log(1_000_000)
        check(f'resume="{self.words}"' in log, "the log has no such command")
        return {(stream.TOPICS.index(x["topic"]), x["partition"]): x
                for x in status["ingest"]["partitions"]}

    def metric(self, name, topic, number):
        text = f'{name}{{topic="{topic}",partition="{number}"}} '
        lines = [x for x in self.daemon.page("/metrics").splitlines()
                 if x.startswith(text)]
        return int(lines[0][len(text):])

    # ---- 1 -------------------------------------------------------------

    def in_trouble(self):
        return self.daemon.wait(
            lambda s: s["ingest"]["broker_error"], "trouble to be said", 60)

    def well_again(self):
        self.daemon.wait(lambda s: not s["ingest"]["broker_error"],
                         "all to be well", 60)

    def outage(self):
        self.kafka.stop()
        say("  " + self.in_trouble()["ingest"]["broker_error"])
        self.kafka.start()
        self.go_on()
        self.well_again()

    def killed(self):
        self.send()
        self.kafka.kill()
        self.in_trouble()
        self.kafka.start()
        self.catch_up()
        self.well_again()

    # ---- 2 -------------------------------------------------------------

    def grow(self):
        self.partitions += 1
        with topics.Client(self.kafka.brokers) as client:
            client.grow(self.partitions, *stream.TOPICS)
        fresh = [(0, PARTITIONS), (1, PARTITIONS)]
        for key in fresh:
            self.read[key] = 0
            self.model.start(key)
        self.send()
        self.daemon.wait(lambda s: len(s["ingest"]["partitions"]) == 6,
                         "the new partitions", 60)
        logs = self.logs()
        self.at_end(self.applied + sum(
            x[0] >= self.read[key] for key, log in logs.items() for x in log))
        check(all(logs[key] for key in fresh), "nothing was sent to them")
        added = [(x["topic"], x["partition"]) for x in self.compare(logs)
                 if x["kind"] == "configuration"]
        check(added == [(topic, PARTITIONS) for topic in stream.TOPICS],
              f"decided: {added}")

    # ---- 3, 4 ----------------------------------------------------------

    def frozen(self, change):
        """What happens to the logs while the daemon is frozen, it does not
        see in between; what it had asked for before has long been answered."""
        self.daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        try:
            return change()
        finally:
            self.daemon.process.send_signal(signal.SIGCONT)

    def damage(self):
        key = 0, 1
        records = self.parts.pop(0)

        def change():
            """One batch of that partition alone, damaged in its middle."""
            path = self.kafka.segment(stream.TOPICS[0], key[1])
            begin = os.path.getsize(path)
            self.send(records[:len(records) // 2], key)
            before = topics.read_log(self.kafka.brokers, stream.TOPICS[0],
                                     key[1])
            with open(path, "r+b") as file:
                at = begin + (os.path.getsize(path) - begin) // 2
                # Inside the batch that holds the byte: batches have their
                # length at byte 8, behind their base offset.
                batch = begin
                while True:
                    file.seek(batch)
                    base = int.from_bytes(file.read(8), "big")
                    size = int.from_bytes(file.read(4), "big") + 12
                    if batch + size > at:
                        break
                    batch += size
                file.seek(batch + 23)
                last = int.from_bytes(file.read(4), "big")
                file.seek(batch + size - 5)
                byte = file.read(1)
                file.seek(batch + size - 5)
                file.write(bytes([byte[0] ^ 0x40]))
            return before, base, base + last + 1

        before, base, end = self.frozen(change)
        # The others go on; of this pair no more than comes before is applied.
        self.send(records[len(records) // 2:])
        found = self.stopped(key[1], "the damaged pair to stop")
        check((found[key]["lost_from"], found[key]["lost_to"]) == (base, end),
              f"damaged is [{base}, {end}), said: {found[key]}")
        check(self.metric("interestd_ingest_partition_lost_records",
                          stream.TOPICS[0], key[1]) == end - base, "metric")
        check(self.words.endswith(
            f"--partition 1 --topic impressions --from {end}"), self.words)
        say("  " + found[key]["stop_reason"])
        check({x for x, one in found.items() if one["stopped"]} ==
              {(0, 1), (1, 1)}, "others have stopped too")
        self.lost, self.damaged = (key, base, end), (before, base, end)
        self.pair_stopped()

    def readable(self):
        """The logs without what is damaged, which kcat cannot pass."""
        logs = {}
        for key in self.read:
            if key != (0, 1) or not self.damaged:
                logs[key] = topics.read_log(self.kafka.brokers,
                                            stream.TOPICS[key[0]], key[1])
                continue
            before, base, end = self.damaged
            behind = topics.read_log(self.kafka.brokers, stream.TOPICS[0], 1,
                                     end)
            logs[key] = [x for x in before if x[0] < base] + behind
        return logs

    def pair_stopped(self):
        logs, number = self.readable(), self.lost[0][1]
        self.daemon.wait(lambda s: all(
            x["next"] >= logs[stream.TOPICS.index(x["topic"]),
                              x["partition"]][-1][0] + 1
            for x in s["ingest"]["partitions"] if x["partition"] != number),
            "the others to go on", 60)
        check("stopped" in [x["kind"] for x in self.compare(logs)],
              "the stop is not recorded")

    def skip(self):
        if self.daemon.process.poll() is None:
            self.daemon.stop()
        program, *arguments = shlex.split(self.words)
        check(program == "interestd", f"no command: {self.words}")
        done = subprocess.run([self.interestd, *arguments, "--yes"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=120)
        check(done.returncode == 0, f"skip: {done}")
        check("skipped" in [x["kind"] for x in self.decisions()], "decisions")
        return done.stdout

    def resume(self):
        key, _, end = self.lost
        self.skip()
        self.model.model.skip(key, end)
        self.read[key] = end
        self.daemon.start()
        logs = self.readable()
        self.at_end(self.applied + sum(
            x[0] >= self.read[at] for at, log in logs.items() for x in log))
        self.compare(logs)

    def retention(self):
        key = 1, 0
        records = self.parts.pop(0)

        def change():
            self.send(records, key)
            log = topics.read_log(self.kafka.brokers, stream.TOPICS[1], 0)
            end = (self.read[key] + log[-1][0]) // 2
            with topics.Client(self.kafka.brokers) as client:
                client.delete_records(stream.TOPICS[1], 0, end)
            return end

        end = self.frozen(change)
        found = self.stopped(0, "the pair to stop")
        check((found[key]["lost_from"], found[key]["lost_to"]) ==
              (self.read[key], end), f"lost to {end}, said: {found[key]}")
        self.lost = key, self.read[key], end
        self.pair_stopped()

    # ---- 5, 6 ----------------------------------------------------------

    def all_stopped(self, words):
        self.daemon.wait(
            lambda s: all(x["stopped"] for x in s["ingest"]["partitions"])
            and s["ingest"]["buckets"]["waiting"] == 0, "all to stop", 90)
        status = self.status()
        check(words in status[0]["stop_reason"], status[0]["stop_reason"])
        say("  " + status[0]["stop_reason"])
        self.words = status[0]["resume"]
        # Equal to the model, which is given no further record: nothing of
        # the other log was applied.
        self.compare({})

    def anew(self):
        """More than it held, sent at once: the old place lies in the new
        log."""
        self.damaged = None
        records = [x for part in self.parts for x in part if x[0] == 0]
        again = records * (max(self.read.values()) // len(records) * 4 + 4)
        with topics.Client(self.kafka.brokers) as client:
            client.delete(stream.TOPICS[0])
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                try:
                    client.create(self.partitions, stream.TOPICS[0])
                    if topics.partitions_of(self.kafka.brokers,
                                            stream.TOPICS[0]):
                        break
                except topics.TopicError:
                    pass
                time.sleep(0.01)
        self.send(again)
        held = {key: len(log) for key, log in self.logs().items()}
        check(all(held[0, x] > self.read[0, x] for x in range(3)),
              f"not what was to be tried: {held}, {self.read}")
        self.all_stopped("another record")

    def take_anew(self):
        self.words = self.words.replace("--partition 0", "--partition all")
        check(self.skip().count("another log") == self.partitions, "moves")
        for number in range(self.partitions):
            self.model.model.skip((0, number), 0, start=0)
            self.read[0, number] = 0
        self.daemon.start()
        self.catch_up()

    def replace(self):
        records = self.parts[-1] * 4
        self.kafka.replace(OTHER_CLUSTER)
        with topics.Client(self.kafka.brokers) as client:
            client.create(self.partitions, *stream.TOPICS)
            client.create(1, "model-announcements")
        self.send(records)
        self.all_stopped("cluster")
        check("--accept-cluster" in self.words, self.words)
        self.daemon.stop()
        self.daemon.start()
        code = self.daemon.process.wait(60)
        check(code == 78 and "--accept-cluster" in self.daemon.log(),
              f"another cluster at a start: exit status {code}")
        self.skip()
        for key in self.read:
            self.model.model.skip(key, 0, start=0)
            self.read[key] = 0
        self.daemon.start()
        self.catch_up()
        self.daemon.stop()


def test(arguments, folder):
    with Kafka() as kafka:
        say("Apache Kafka runs")
        Test(arguments, folder, kafka).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=1600)
    paths.main(test, options)
