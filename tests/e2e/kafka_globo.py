#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The first Globo clicks through Apache Kafka, topics filled first.

Run A, undisturbed: every event in the ledger; ledger, sequences and samples
equal to the model's; AUC of each hour of event time; a snapshot that `rank`
scores with; events/s, samples/s, peak memory.
Run B, ten kill -9 at random moments: the same state, the same weights.
Run C, small fetches and every other partition slowed down: the same again.
Where the Globo data are absent a made-up stream of the same shape is used.
Exit status 77 where Kafka cannot be obtained. The last line is JSON."""

import argparse
import datetime
import json
import os
import random
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from container import Writer, read
from daemon import (Daemon, check, compare, dump, kill_again_and_again,
                    load_config, merge)
from kafka import Kafka
from paths import Steps, say
from throttle import Throttle
import globo
import request
import topics

PARTITIONS = 4
TOPICS = ("impressions", "clicks")


def made_up(clicks):
    """Rows as globo.rows() gives them: articles that come and go, users with
    a taste in categories."""
    rng = random.Random(1)
    at, out = 1_506_826_800_000, []
    for n in range(clicks):
        at += int(rng.expovariate(1 / 500))
        user = int(rng.random() ** 2 * clicks / 4)
        category = user % 5 if rng.random() < 0.7 else rng.randrange(20)
        article = category + 20 * int(n / 4000 + rng.random() ** 2 * 20)
        out.append((at, str(user), article, category,
                    [str(user % k) for k in (2, 3, 5, 2, 9, 4)]))
    return out


class Test:
    def __init__(self, arguments, folder, kafka, throttle):
        self.arguments, self.folder = arguments, folder
        self.kafka, self.throttle = kafka, throttle
        self.config = merge(load_config(os.path.join(
            paths.TESTS, "adapters", "globo.yaml")), {
                "kafka.brokers": kafka.brokers, "learner.flush_ms": 0,
                "learner.checkpoint_seconds": 5, "ingest.journal_keep": True})
        self.steps = Steps()
        self.result = {"clicks": arguments.clicks}

    def run(self):
        self.steps.run("adapter", self.adapt)
        self.steps.run("topics, filled by interestd replay", self.fill)
        self.steps.run("model", self.model)
        self.steps.run("A: undisturbed", self.undisturbed)
        self.steps.run("A: state against the model", lambda: compare(
            "model and daemon", self.model_out, self.out("a")))
        self.steps.run("A: a snapshot to rank with", self.rank)
        self.steps.run(f"B: {self.arguments.kills} kill -9", self.killed)
        self.steps.run("C: small fetches, slowed partitions", self.slowed)
        self.result["seconds"] = self.steps.seconds
        say(json.dumps(self.result))

    def out(self, name):
        return os.path.join(self.folder, name, "out")

    # ---- input ---------------------------------------------------------

    def adapt(self):
        self.data = os.path.join(self.folder, "data")
        os.makedirs(self.data)
        clicks = self.arguments.clicks
        real = os.path.exists(globo.DATA)
        self.result["data"] = "globo" if real else "made up"
        if not real:
            say("  the Globo clicks are not here: a made-up stream instead")
        with Writer(os.path.join(self.data, "impressions.avro"),
                    globo.schema("globo_impression.avsc")) as impressions, \
                Writer(os.path.join(self.data, "clicks.avro"),
                       globo.schema("globo_click.avsc")) as clicked:
            globo.write(globo.rows(globo.DATA, clicks) if real
                        else made_up(clicks), impressions, clicked, 1)
        self.events = impressions.records + clicked.records
        self.result["events"] = self.events
        say(f"  {impressions.records} impressions, {clicked.records} clicks")

    def fill(self):
        with topics.Client(self.kafka.brokers) as client:
            client.create(PARTITIONS, *TOPICS)
            client.create(1, "model-announcements")
        replayer = Daemon(self.arguments.interestd,
                          os.path.join(self.folder, "replay"), self.config)
        begin = time.monotonic()
        sent = replayer.call(
            "replay", "--impressions",
            os.path.join(self.data, "impressions.avro"), "--clicks",
            os.path.join(self.data, "clicks.avro"), "--speed", "max")
        check(sent.returncode == 0, f"replay: {sent.stderr}")
        took = time.monotonic() - begin
        self.result["replay_events_per_second"] = round(self.events / took)

    def model(self):
        """In a process of its own: its memory goes with it."""
        self.model_out = os.path.join(self.folder, "model")
        config = os.path.join(self.folder, "replay", "config.yaml")
        subprocess.run([sys.executable, "-B", os.path.join(
            paths.TESTS, "model", "state_model.py"), "--config", config,
            self.model_out], check=True)

    # ---- runs ----------------------------------------------------------

    def daemon(self, name, **changes):
        return Daemon(self.arguments.interestd,
                      os.path.join(self.folder, name), self.config, **changes)

    def finish(self, daemon, name):
        status = daemon.wait_trained(self.events, 3600)
        check(status["ingest"]["unaccounted"] == 0,
              f"unaccounted: {status['ingest']['unaccounted']}")
        check(status["ingest"]["events"] == self.events,
              f"{status['ingest']['events']} of {self.events} events")
        return status

    def close(self, daemon, name):
        daemon.stop()
        dump(daemon, self.out(name))
        found = daemon.checkpoint()
        return found["position"], found["digest"]

    def undisturbed(self):
        self.first = daemon = self.daemon("a")
        try:
            begin = time.monotonic()
            daemon.start()
            daemon.wait_applied(self.events, 3600)
            applied = time.monotonic() - begin
            status = self.finish(daemon, "a")
            took = time.monotonic() - begin
            samples = status["learner"]["position"]
            self.result.update(
                events_per_second=round(self.events / applied),
                samples=samples,
                samples_per_second=round(samples / took),
                train_seconds=round(status["learner"]["busy_seconds"], 1),
                peak_mib=round(daemon.peak_memory()))
            self.hours(status)
            self.weights = self.close(daemon, "a")
        finally:
            daemon.end()
        self.result["weights"] = self.weights
        say("  " + ", ".join(f"{name} {self.result[name]}" for name in (
            "events_per_second", "samples", "samples_per_second",
            "train_seconds", "peak_mib")))

    def hours(self, status):
        """AUC of every hour, each sample predicted before it was trained."""
        windows = status["learner"]["windows"]
        check(windows, "no hour of event time is closed")
        for window in windows:
            hour = datetime.datetime.fromtimestamp(
                window["begin_ms"] / 1000, datetime.timezone.utc)
            auc = window["auc"]
            say(f"  {hour:%Y-%m-%d %H:00} {window['samples']:7} samples  AUC "
                + ("undefined" if auc is None else f"{auc:.4f}"))
        known = [w["auc"] for w in windows if w["auc"] is not None]
        self.result["auc_last_hour"] = round(known[-1], 4)

    def rank(self):
        asked = os.path.join(self.folder, "request.json")
        request.write(asked, self.config, self.some_items(8))
        done = self.first.call("rank", "--model",
                               self.first.config["model_folder"],
                               "--request", asked, config=False)
        check(done.returncode == 0, f"rank: {done.stderr}")
        for line in done.stdout.splitlines():
            say(f"  {line}")

    def some_items(self, count):
        items = {}
        for click in read(os.path.join(self.data, "clicks.avro")):
            items[click["article"]] = {"article": click["article"],
                                       "category": click["category"]}
            if len(items) == count:
                break
        return list(items.values())

    def same(self, title, name, weights):
        compare(title, self.out("a"), self.out(name))
        check(weights == self.weights,
              f"{title}: weights {weights}, not {self.weights}")
        say(f"  {title}: weights equal, {weights[1]} at {weights[0]}")

    def killed(self):
        daemon = self.daemon("b")
        try:
            places = kill_again_and_again(
                daemon, self.arguments.kills, self.events,
                self.result["samples"], self.arguments.seed)
            say(f"  killed after (events, trained) {places}")
            self.finish(daemon, "b")
            weights = self.close(daemon, "b")
        finally:
            daemon.end()
        self.same(f"{daemon.kills} kills", "b", weights)
        self.result["kills"] = daemon.kills

    def slowed(self):
        # About ten seconds for what the slowed partitions hold.
        size = sum(os.path.getsize(os.path.join(self.data, name + ".avro"))
                   for name in TOPICS)
        self.throttle.bytes_per_second = max(100_000, size / 2 / 10)
        daemon = self.daemon("c", **{"kafka.properties": {
            "fetch.message.max.bytes": 20_000}})
        try:
            daemon.start()
            self.finish(daemon, "c")
            weights = self.close(daemon, "c")
        finally:
            daemon.end()
            self.throttle.bytes_per_second = 0
        self.same("slowed", "c", weights)


def test(arguments, folder):
    with Throttle() as throttle, Kafka(slow=throttle) as kafka:
        say("Apache Kafka runs (two brokers)")
        Test(arguments, folder, kafka, throttle).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--clicks", type=int, default=20_000)
    options.add_argument("--kills", type=int, default=10)
    options.add_argument("--seed", type=int, default=1)
    paths.main(test, options)
