#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Freshness: from a click produced to Kafka to a ranker that scores with
weights that learned from it. The real daemon with `label_mode: fnw`, simulated
traffic of `interestd produce`, and a ranker that is a process of its own
(support/follow.py).

When has a version learned from a click? In fnw a click is one sample, the
positive of its impression, at one position of the journal. After the run
`inspect samples` tells that position: the positive with the impression's user,
time and ids (equal ones in turn). Weights are of one position exactly, the
manifest's `position`: all samples before it are in them, none after. So the
first version with a larger position than the click's sample has learned from
it, and no older one has. (newest_event_ms would not tell: it is the event time
of some newest sample.)

The way of a click, on the wall clock of this one machine, ms:
  produced   the record's timestamp, set by the producer's call
  committed  the first commit whose journal ends behind the sample
  trained    the first batch that ends behind it
  cut        the weights of the first covering version that the ranker served
             were copied
  current    CURRENT named it
  served     the ranker had swapped it in; a score of it comes right after
committed and trained are lines of the daemon's log (level debug).

The test is that a version which was served covers each click, in order, and
that the split adds up; how fast it must be is nothing that a busy machine can
judge, so that is read by a person, from a longer run:
  freshness.py --seconds 120 build/release/daemon/interestd
The last line is one JSON object."""

import argparse
import collections
import contextlib
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, load_config
from kafka import Kafka
from paths import Steps, say
import events
import topics

ROOT = os.path.normpath(os.path.join(paths.TESTS, ".."))
PARTITIONS = 4
STAGES = ("committed", "trained", "cut", "current", "served")
COARSE_MS = 5  # the kernel's clock for inodes, and whole milliseconds


class Follower:
    """support/follow.py; what it served, in order."""

    def __init__(self, interestd, folder):
        build = os.path.dirname(os.path.dirname(interestd))
        self.served, self.final = [], None
        self.process = subprocess.Popen(
            [sys.executable, "-B",
             os.path.join(paths.TESTS, "support", "follow.py"), folder],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ,
                 "PYTHONPATH": os.path.join(ROOT, "snapshot", "python"),
                 "INTEREST_LIBRARY": os.path.join(build, "snapshot",
                                                  "libinterest.so.0")})
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            told = json.loads(line)
            if told.get("final"):
                self.final = told
            else:
                self.served.append(told)

    def position(self):
        return self.served[-1]["position"] if self.served else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.reader.join(20)


class Marks:
    """(position, ms) of something that passes over the journal."""

    def __init__(self):
        self.at = []

    def first_behind(self, position, begin):
        """Index of the first with a larger position, from `begin` on."""
        while begin < len(self.at) and self.at[begin][0] <= position:
            begin += 1
        return begin


def read_log(path):
    """Commits and batches that the daemon's log tells."""
    line_form = re.compile(r"ts=(\S+)Z level=debug event=(committed|trained) "
                           r".*?position=(\d+)")
    marks = collections.defaultdict(Marks)
    with open(path, errors="replace") as file:
        for line in file:
            found = line_form.match(line)
            if found:
                at = datetime.datetime.fromisoformat(
                    found.group(1) + "+00:00").timestamp() * 1e3
                marks[found.group(2)].at.append((int(found.group(3)), at))
    return marks


class Test:
    def __init__(self, arguments, folder, brokers):
        self.arguments, self.steps = arguments, Steps()
        changes = dict(one.split("=", 1) for one in arguments.set)
        config = load_config(os.path.join(ROOT, "configs", "demo.yaml"))
        for topic, schema in (("impressions", "impression.avsc"),
                              ("clicks", "click.avsc")):
            config[topic] = {
                "topic": topic, "event_id": "", "user": "user_id",
                "time": "event_ms",
                "schema": os.path.join(ROOT, "schemas", schema)}
        config["impressions"]["event_id"] = "impression_id"
        config["clicks"]["impression"] = "impression_id"
        config["kafka"] = {"brokers": brokers,
                           "announcement_topic": "model-announcements"}
        # Defaults of the product, but for what a test of minutes needs.
        config["ingest"] = {"label_mode": "fnw", "journal_keep": True,
                            "window_ms": 60_000, "lateness_ms": 1000}
        config["learner"] = {"learning_rate": 0.003}
        config["publish"] = {"gate_auc_drop": 1,
                             "versions_kept": 1000}
        self.daemon = Daemon(
            arguments.interestd, os.path.join(folder, "daemon"), config,
            **{"log.level": "debug", **{
                name: json.loads(value) if value[:1].isdigit() else value
                for name, value in changes.items()}})

    def run(self):
        try:
            self.daemon.start()
            self.daemon.wait(lambda s: s["phase"] == "running",
                             "a running daemon")
            with Follower(self.arguments.interestd,
                          self.daemon.config["model_folder"]) as follower:
                self.steps.run("traffic", self.produce)
                self.steps.run("every sample is served", self.drain, follower)
            self.daemon.stop()
        finally:
            self.daemon.end()
        self.follower = follower
        return self.steps.run("the way of each click", self.follow_clicks)

    def cpu_seconds(self):
        """Of the daemon so far, all threads."""
        with open(f"/proc/{self.daemon.process.pid}/stat") as file:
            words = file.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def produce(self):
        before = self.cpu_seconds()
        done = self.daemon.call(
            "produce", "--rate", str(self.arguments.rate), "--seconds",
            str(self.arguments.seconds))
        check(done.returncode == 0, f"produce: {done.stderr}")
        self.sent = json.loads(done.stdout.splitlines()[-1])
        self.cores = (self.cpu_seconds() - before) / self.sent["seconds"]
        say(f"  {self.sent['events']} events in {self.sent['seconds']} s, "
            f"{self.sent['clicks']} clicks")

    def drain(self, follower):
        status = self.daemon.wait(
            lambda s: s["ingest"]["events"] >= self.sent["events"]
            and s["ingest"]["at_end"]
            and s["publish"]["position"] >= s["ingest"]["journal_end"],
            "all samples published", 120)
        end = time.monotonic() + 60
        while follower.position() < status["ingest"]["journal_end"]:
            check(time.monotonic() < end, "the ranker does not follow")
            time.sleep(0.02)

    # ---- afterwards ----------------------------------------------------

    def clicks(self):
        """[(produced ms, key of its sample)] in the order of production."""
        config, shown, clicks = self.daemon.config, {}, []
        logs = topics.read_logs(config["kafka"]["brokers"], events.TOPICS)
        mappings = [events.Mapping(i, config, "/") for i in range(2)]
        for (topic, partition), log in sorted(logs.items()):
            for event, (_, kafka_ms, _) in zip(
                    events.partition_events(mappings[topic], partition, log),
                    log):
                if topic == events.IMPRESSIONS:
                    shown[event.event_id] = (
                        f"{event.user:016x}", event.event_ms,
                        tuple(f"{one:016x}" for one in event.ids))
                else:
                    clicks.append((kafka_ms, event.impression))
        clicks.sort()
        return [(at, shown[impression]) for at, impression in clicks]

    def positives(self):
        """{key: positions} of the journal's positives."""
        path = os.path.join(self.daemon.folder, "samples")
        self.daemon.inspect_to("samples", path)
        found = collections.defaultdict(collections.deque)
        with open(path) as file:
            for line in file:
                if '"kind":"fnw_positive"' in line:
                    one = json.loads(line)
                    found[one["user"], one["event_ms"],
                          tuple(one["ids"])].append(one["position"])
        os.unlink(path)
        return found

    def follow_clicks(self):
        clicks, positives = self.clicks(), self.positives()
        check(len(clicks) == self.sent["clicks"],
              f"Kafka holds {len(clicks)} clicks of {self.sent['clicks']}")
        ways = []
        for produced, key in clicks:
            check(bool(positives[key]), f"no sample of the click on {key}")
            ways.append([positives[key].popleft(), produced])
        check(not any(positives.values()), "samples of clicks never sent")
        ways.sort()
        self.put_stages(ways)
        return ways

    def put_stages(self, ways):
        """Appends the times of STAGES to each [position, produced]."""
        marks = read_log(self.daemon.log_path)
        for stage in ("committed", "trained"):
            check(bool(marks[stage].at), f"the log tells nothing {stage}")
        served = self.follower.served
        versions = Marks()
        versions.at = [(one["position"],) for one in served]
        check(versions.at == sorted(versions.at), "served out of order")
        at = collections.Counter()
        for way in ways:
            for stage in ("committed", "trained"):
                at[stage] = marks[stage].first_behind(way[0], at[stage])
                check(at[stage] < len(marks[stage].at),
                      f"position {way[0]} was never {stage}")
                way.append(marks[stage].at[at[stage]][1])
            # What was trained had been committed, also where the thread that
            # commits came to say so a little later.
            way[2] = min(way[2:])
            at["served"] = versions.first_behind(way[0], at["served"])
            check(at["served"] < len(served),
                  f"no version that was served covers position {way[0]}")
            one = served[at["served"]]
            way += [one["cut_ms"], one["current_ms"], one["served_ms"]]


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def report(test, ways):
    """The split as a table and an object; the checks that can fail."""
    covered = len(ways)
    # A chain's first version is a base, whose manifest says no cut.
    ways = [way for way in ways if way[4]]
    for way in ways:
        for earlier, later in zip(way[1:], way[2:]):
            check(later >= earlier - COARSE_MS, f"out of order: {way}")
    begin = min(way[1] for way in ways) + test.arguments.warm * 1000
    end = max(way[1] for way in ways) - test.arguments.tail * 1000
    chosen = [way for way in ways if begin <= way[1] <= end]
    check(bool(chosen), "no click between the first and last seconds")
    told, legs, total = {}, [], [way[-1] - way[1] for way in chosen]
    say(f"{'ms':24} {'median':>8} {'p90':>8} {'p99':>8} {'max':>8}")
    for number, stage in enumerate(("produced",) + STAGES):
        values = total if not number else \
            [way[number + 1] - way[number] for way in chosen]
        name = "produced -> served" if not number else \
            f"{(('produced',) + STAGES)[number - 1]} -> {stage}"
        if number:
            legs.append(values)
        figures = {"median": statistics.median(values),
                   "p90": quantile(values, 0.9), "p99": quantile(values, 0.99),
                   "max": max(values)}
        told[name] = {key: round(value, 1) for key, value in figures.items()}
        say(f"{name:24} " + " ".join(f"{value:8.1f}"
                                     for value in told[name].values()))
    for whole, parts in zip(total, zip(*legs)):
        check(abs(whole - sum(parts)) < 0.5, "the split does not add up")
    served = test.follower.served
    return {"clicks": len(chosen), "covered": covered,
            "rate": test.arguments.rate, "seconds": test.arguments.seconds,
            "versions_served": len(served), "resyncs":
            test.follower.final["resyncs"], "split_ms": told,
            "daemon_cores": round(test.cores, 3),
            "load_average": os.getloadavg()[0]}


def test(arguments, folder):
    with contextlib.ExitStack() as stack:
        if arguments.kafka:
            broker = stack.enter_context(Kafka())
            with topics.Client(broker.brokers) as client:
                client.create(PARTITIONS, *events.TOPICS)
                client.create(1, "model-announcements")
        else:
            broker = stack.enter_context(Broker(
                arguments.interestd,
                f"impressions:{PARTITIONS},clicks:{PARTITIONS},"
                "model-announcements:1"))
        made = Test(arguments, folder, broker.brokers)
        told = report(made, made.run())
    told["broker"] = "kafka" if arguments.kafka else "mock"
    print(json.dumps(told))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--kafka", action="store_true",
                         help="Apache Kafka, not the mock")
    options.add_argument("--rate", type=int, default=2000)
    options.add_argument("--seconds", type=int, default=12)
    options.add_argument("--warm", type=int, default=3,
                         help="first seconds that the figures leave out")
    options.add_argument("--tail", type=int, default=1,
                         help="and last ones: with the traffic at its end the "
                         "last samples wait up to 5 s for others")
    options.add_argument("--set", action="append", default=[],
                         metavar="KEY=VALUE")
    paths.main(test, options)
