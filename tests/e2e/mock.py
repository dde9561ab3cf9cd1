#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The daemon on the mock cluster, on a small stream in which everything
happens (support/stream.py), in both label modes and with tight caps:

1. ledger, sequences and samples equal the model's (model/state_model.py);
2. with several kill -9, with other fetch sizes and a slowed partition, with
   another number of training threads and other commits: the same state and
   the same bits in the weights; these also where the journal is full again
   and again;
3. `interestd replay` of container files arrives whole, and no offset is
   unaccounted for."""

import argparse
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import (Daemon, check, compare, dump, kill_again_and_again,
                    merge)
from paths import Steps, say
import state_model
import stream
import topics

MODES = {
    "window": {"ingest.label_mode": "window"},
    "fnw": {"ingest.label_mode": "fnw"},
    "caps": {"ingest.label_mode": "window", "ingest.pending_max": 480,
             "ingest.negative_keep": 0.5, "ingest.history_max": 5,
             "ingest.history_ttl_ms": 900_000},
}
TOPICS = "impressions:4,clicks:4,model-announcements:1"


class Run:
    """One daemon, from the first offset to the last."""

    def __init__(self, test, name, **changes):
        self.test = test
        self.daemon = Daemon(test.interestd,
                             os.path.join(test.folder, name),
                             test.config, **changes)
        self.out = os.path.join(test.folder, name, "out")

    def finish(self):
        """To the end of the topics; afterwards the digest is known."""
        self.status = self.daemon.wait_trained(self.test.events, 300)
        check(self.status["ingest"]["unaccounted"] == 0,
              f"unaccounted offsets: {self.status['ingest']['unaccounted']}")
        self.daemon.stop()
        dump(self.daemon, self.out)
        found = self.daemon.checkpoint()
        self.weights = (found["position"], found["digest"])
        return self

    def straight(self):
        try:
            self.daemon.start()
            return self.finish()
        finally:
            self.daemon.end()

    def killed(self, kills, samples):
        try:
            places = kill_again_and_again(self.daemon, kills,
                                          self.test.events, samples, 7)
            say(f"  killed after (events, trained) {places}")
            return self.finish()
        finally:
            self.daemon.end()


class Test:
    def __init__(self, interestd, folder, mode, pages):
        self.interestd, self.folder = interestd, os.path.join(folder, mode)
        self.mode, self.pages = mode, pages
        self.steps = Steps()

    def run(self):
        with Broker(self.interestd, TOPICS, brokers=2) as broker:
            self.broker = broker
            self.config = merge(stream.config(), {
                "kafka.brokers": broker.brokers, **MODES[self.mode]})
            self.steps.run(f"{self.mode}: fill the topics", self.fill)
            plain = self.steps.run(f"{self.mode}: straight run against the "
                                   "model", self.straight)
            self.same(plain, "again, two training threads, other commits",
                      lambda: Run(self, "threads", **{
                          "learner.threads": 2,
                          "ingest.commit_events": 333}).straight())
            self.same(plain, "eight kill -9", lambda: Run(
                self, "killed").killed(8, plain.weights[0]))
            self.same(plain, "small fetches, a slowed partition", self.slowed)
            self.steps.run(f"{self.mode}: a journal of 1 MiB",
                           self.small_journal, plain)

    def fill(self):
        with topics.Client(self.broker.brokers) as client:
            self.events = stream.Stream(3, self.pages).send(client)
        logs = topics.read_logs(self.broker.brokers, stream.TOPICS)
        held = sum(len(log) for log in logs.values())
        check(held == self.events, f"the broker holds {held} of "
                                   f"{self.events} records")
        self.model = os.path.join(self.folder, "model")
        state_model.run(self.config, "/", logs, self.model)
        say(f"  {self.events} records")

    def straight(self):
        run = Run(self, "straight").straight()
        compare("model and daemon", self.model, run.out)
        say(f"  weights at position {run.weights[0]}: {run.weights[1]}")
        return run

    def same(self, plain, title, other):
        def show():
            run = other()
            compare(title, plain.out, run.out)
            check(run.weights == plain.weights,
                  f"{title}: weights {run.weights}, not {plain.weights}")
        self.steps.run(f"{self.mode}: {title}", show)

    def small_journal(self, plain):
        """Ingest waits for checkpoints, which no clock starts."""
        run = Run(self, "small", **{
            "ingest.journal_keep": False, "ingest.journal_max_mb": 1,
            "learner.checkpoint_seconds": 0, "publish.delta_ms": 0})
        run.straight()
        check(run.status["ingest"]["journal_begin"] > 0, "nothing trimmed")
        check(run.weights == plain.weights,
              f"weights {run.weights}, not {plain.weights}")

    def slowed(self):
        self.broker.tell("leader impressions 1 2")
        self.broker.tell("leader clicks 2 2")
        self.broker.tell("rtt 2 120")
        try:
            return Run(self, "slowed", **{"kafka.properties": {
                "fetch.message.max.bytes": 4096}}).straight()
        finally:
            self.broker.tell("rtt 2 0")


def replay(interestd, folder):
    """Point 3."""
    data = os.path.join(folder, "data")
    events = stream.Stream(11, 1500, disorder=False).write(data)
    with Broker(interestd, TOPICS) as broker:
        config = merge(stream.config(), {"kafka.brokers": broker.brokers})
        daemon = Daemon(interestd, os.path.join(folder, "replay"), config)
        sent = daemon.call("replay", "--impressions",
                           os.path.join(data, "impressions.avro"),
                           "--clicks", os.path.join(data, "clicks.avro"),
                           "--speed", "max")
        check(sent.returncode == 0, f"replay: {sent.stderr}")
        logs = topics.read_logs(broker.brokers, stream.TOPICS)
        check(sum(map(len, logs.values())) == events, "records are missing")
        model = os.path.join(folder, "replay-model")
        state_model.run(config, "/", logs, model)
        try:
            daemon.start()
            status = daemon.wait_trained(events, 300)
            check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
            daemon.stop()
        finally:
            daemon.end()
        out = os.path.join(folder, "replay-out")
        dump(daemon, out)
        compare("replayed", model, out)


def test(arguments, folder):
    for mode in arguments.mode or MODES:
        Test(arguments.interestd, folder, mode, arguments.pages).run()
    if not arguments.mode:
        Steps().run("replay of container files", replay, arguments.interestd,
                    folder)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--mode", action="append", choices=sorted(MODES))
    options.add_argument("--pages", type=int, default=4000)
    paths.main(test, options)
