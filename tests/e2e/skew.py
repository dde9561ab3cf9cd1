#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Skew: rankers that log the hash and length of the history they scored with,
and the version; producers that put them into the impression; a daemon that
compares them with the history of the sample.

1. A ranker (the Python binding) with the daemon's own histories: everything is
   compared, nothing is a mismatch; and what it logged is the hash and length of
   the history that the sample of each impression has in the journal.
2. Rankers with a behavior too few, one too many, and the same ones in another
   order: counted exactly, by kind and by version, in /status and /metrics.
3. Impressions that say nothing are not compared.
4. A daemon that is told nothing of it ends with the same ledger, sequences,
   samples and weights.
The model leaves one item field out, as rankers then do too."""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, compare, dump, merge
from paths import Steps
import container
import stream
import topics

ROOT = os.path.normpath(os.path.join(paths.TESTS, ".."))
TOPICS = "impressions:4,clicks:4,model-announcements:1"
OFF = "shop"
MAPPING = {"impressions.served_history_hash": "served_hash",
           "impressions.served_history_length": "served_length",
           "impressions.served_version": "served_version"}
KINDS = ("shorter", "longer", "content")


def load_binding(interestd):
    build = os.path.dirname(os.path.dirname(interestd))
    os.environ["INTEREST_LIBRARY"] = os.path.join(build, "snapshot",
                                                  "libinterest.so.0")
    sys.path.insert(0, os.path.join(ROOT, "snapshot", "python"))
    import interest
    return interest


def write_schema(folder):
    """The house impression with what a ranker logged."""
    schema = json.loads(stream.schema_text("impression.avsc"))
    for name in MAPPING.values():
        schema["fields"].append({"name": name, "type": ["null", "long"],
                                 "default": None})
    path = os.path.join(folder, "impression.avsc")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(schema, file)
    return schema, path


class Test:
    def __init__(self, interestd, folder, broker):
        self.interest = load_binding(interestd)
        self.interestd, self.folder = interestd, folder
        self.schema, path = write_schema(folder)
        self.config = merge(stream.config(), {
            "kafka.brokers": broker.brokers, "impressions.schema": path,
            "learner.fields_off": [OFF], "ingest.label_mode": "fnw"})
        self.steps, self.events, self.shown = Steps(), 0, 0

    def start(self, name, **changes):
        daemon = Daemon(self.interestd, os.path.join(self.folder, name),
                        self.config, **changes)
        daemon.start()
        return daemon

    def run(self):
        self.daemon = self.start("skew", **MAPPING)
        try:
            self.steps.run("behaviors and a version", self.begin)
            with self.interest.Model(self.daemon.config["model_folder"]) as \
                    self.model, self.model.scorer() as self.scorer:
                self.steps.run("the daemon's own histories", self.honest)
                self.steps.run("other histories", self.skewed)
                self.steps.run("nothing said", self.silent)
            self.daemon.stop()
        finally:
            self.daemon.end()
        self.steps.run("not told of it: the same state", self.same)

    def begin(self):
        with topics.Client(self.config["kafka"]["brokers"]) as client:
            made = stream.Stream(5, 1200, disorder=False)
            self.events += made.send(client, encode_value=self.encode)
        self.at = max(record["event_ms"] for _, _, _, record in made.records)
        self.daemon.wait_applied(self.events, 120)
        self.daemon.wait(lambda s: s["publish"]["version"] > 0, "a version")
        check(self.skew()["compared"] == 0, "compared what said nothing")
        self.histories = {}
        for line in self.daemon.inspect("sequences"):
            one = json.loads(line)
            self.histories[one["user"]] = [
                [int(x, 16) for x in ids] for _, _, ids in one["behaviors"]]
        self.most = self.config["ingest"]["history_max"]
        self.users = [
            (name, history) for name, history in
            ((f"u{i}", self.histories.get(self.user_id(f"u{i}"), []))
             for i in range(310))
            if not history or len({tuple(x) for x in history[-4:]}) == 4]

    def user_id(self, name):
        import events
        return f"{events.identify_value(events.seed('user'), name):016x}"

    def encode(self, topic, record):
        if topic:
            return stream.encode(topic, record)
        return container.encode_record(self.schema, record)

    def skew(self):
        return self.daemon.status()["ingest"]["skew"]

    def serve(self, user, history):
        """Scores as a ranker does; what it logs."""
        rows = [[goods, cate] for goods, _, cate in history]
        request = self.interest.Request([0, 0], rows, [rows[0] if rows
                                                       else [0, 0]], [0, 0])
        version = self.scorer.score(request).version
        value, length = self.model.history_hash(request, version)
        signed = value - (1 << 64) if value >> 63 else value
        return {"served_hash": signed, "served_length": length,
                "served_version": version.version}

    def show(self, shown):
        """An impression each of (user, what was logged)."""
        self.at += 1000
        with topics.Client(self.config["kafka"]["brokers"]) as client:
            for user, logged in shown:
                self.shown += 1
                record = dict(impression_id=f"served{self.shown}",
                              user_id=user, event_ms=self.at, goods="g1",
                              shop="s1", cate="c1", **logged)
                client.send("impressions", self.encode(0, record),
                            key=user.encode(), timestamp_ms=self.at,
                            partition=int(user[1:]) % 4)
        self.events += len(shown)
        self.daemon.wait_applied(self.events, 120)

    def honest(self):
        check(sum(len(h) > self.most for _, h in self.users) >= 3 and
              sum(not h for _, h in self.users) >= 3 and len(self.users) > 60,
              "the stream has too few kinds of users")
        self.logged = [(user, self.serve(user, history))
                       for user, history in self.users]
        self.show(self.logged)
        self.logged_at = self.at
        skew = self.skew()
        check(skew["compared"] == len(self.users), f"compared: {skew}")
        check(not any(skew[kind] for kind in KINDS), f"mismatched: {skew}")

    def skewed(self):
        before = len(self.users)
        some = [(user, history[-self.most:]) for user, history in self.users
                if 4 <= len(history) < self.most]
        check(len(some) >= 18, "too few users with some behaviors")
        sent = []
        for number, (user, history) in enumerate(some[:18]):
            wrong = (history[1:] if number < 5 else
                     [history[1]] + history if number < 12 else
                     history[::-1])
            sent.append((user, self.serve(user, wrong)))
        self.show(sent)
        skew = self.skew()
        check([skew[kind] for kind in KINDS] == [5, 7, 6] and
              skew["compared"] == before + 18, f"counted: {skew}")
        check(sum(one["mismatched"] for one in skew["versions"]) == 18 and
              sum(one["compared"] for one in skew["versions"]) ==
              before + 18, f"by version: {skew}")
        newest = skew["versions"][0]
        check(newest["version"] == max(logged["served_version"]
                                       for _, logged in sent) and
              abs(newest["rate"] - newest["mismatched"] /
                  newest["compared"]) < 1e-9, f"rates: {skew}")
        page = self.daemon.page("/metrics")
        for kind, count in zip(KINDS, (5, 7, 6)):
            line = (f'interestd_ingest_skew_mismatched_total{{kind="{kind}"}} '
                    f"{count}\n")
            check(line in page, f"/metrics lacks {line}")
        check(f"interestd_ingest_skew_compared_total {before + 18}\n" in page,
              "/metrics does not say how many were compared")

    def silent(self):
        before = self.skew()
        self.show([(user, {}) for user, _ in self.users[:10]])
        check(self.skew() == before, "compared what said nothing")

    def finish(self, daemon, name):
        out = os.path.join(self.folder, name + "-out")
        dump(daemon, out)
        found = daemon.checkpoint()
        return out, (found["position"], found["digest"])

    def check_samples(self, path):
        """What the honest ranker logged against the journal."""
        import xxhash
        found = {}
        with open(path) as file:
            for line in file:
                sample = json.loads(line)
                if sample.get("event_ms") == self.logged_at:
                    rows = [(int(goods, 16), int(cate, 16))
                            for goods, _, cate in sample["history"]]
                    packed = b"".join(x.to_bytes(8, "little")
                                      for row in rows for x in row)
                    value = xxhash.xxh3_64_intdigest(packed) if rows else 0
                    found[sample["user"]] = (value, len(rows))
        for user, logged in self.logged:
            check(found.get(self.user_id(user)) ==
                  (logged["served_hash"] % (1 << 64),
                   logged["served_length"]),
                  f"the sample of {user} has another history")

    def same(self):
        told = self.finish(self.daemon, "told")
        self.check_samples(os.path.join(told[0], "samples"))
        plain = self.start("plain")
        try:
            plain.wait_trained(self.events, 120)
            check(plain.status()["ingest"]["skew"]["compared"] == 0,
                  "compared without being told")
            plain.stop()
        finally:
            plain.end()
        other = self.finish(plain, "plain")
        compare("with and without", told[0], other[0])
        check(told[1] == other[1], f"weights {told[1]} and {other[1]}")


def test(arguments, folder):
    with Broker(arguments.interestd, TOPICS) as broker:
        Test(arguments.interestd, folder, broker).run()


if __name__ == "__main__":
    paths.main(test, argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0]))
