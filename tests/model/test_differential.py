#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The state machine in C against the model in Python on made-up streams, with
both label modes, evictions, down-sampling, time to live, dead letters, gaps
and users who are forgotten; commits and re-opens of the state at random places must not show.
Without Kafka: merged events go from a file into the state (apply_events.c,
named by the environment variable APPLY_EVENTS)."""

import collections
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "support")]
import yaml
from daemon import STATE_VIEWS, merge
from events import CLICKS, IMPRESSIONS, merged
import state_model
import stream

DEAD, FORGET, TRUNCATED = 2, 3, 6
FORGET_EVERY = 150  # events; one of the users of late, or nobody
# Beside the stream's own: a multi-hot field of which one place is used, a user
# id as a feature, derived numbers in a group of their own.
FEATURES = [
    {"name": "kinds", "group": "item", "dimension": 8, "path": "cate",
     "values": 3, "table": "cate"},
    {"name": "user", "group": "profile", "dimension": 4, "path": "user_id"},
    {"name": "age", "group": "profile", "dimension": 4, "path": "age_level",
     "transform": "bucket", "bounds": [1, 3, 4.5]},
    {"name": "weekday", "group": "when", "dimension": 4, "path": "event_ms",
     "transform": "weekday"}]
# As many fields as there may be, most of them the item's.
WIDE = FEATURES + [
    {"name": "many", "group": "item", "dimension": 8, "path": "goods",
     "values": 40},
    {"name": "more", "group": "profile", "dimension": 8, "path": "gender",
     "values": 11}]
FIELDS_MAX = 64
PARTITIONS = 4
PAGES = 1200
SETTINGS = {
    "window": {},
    "fnw": {"ingest.label_mode": "fnw"},
    "caps": {"ingest.pending_max": 480, "ingest.negative_keep": 0.5,
             "ingest.history_max": 5, "ingest.history_ttl_ms": 900_000},
    "fnw_caps": {"ingest.label_mode": "fnw", "ingest.pending_max": 450,
                 "ingest.history_max": 3},
}


def logs_of(seed):
    """A stream's partitions with some records unreadable, some missing."""
    logs = {(topic, number): [] for topic in (IMPRESSIONS, CLICKS)
            for number in range(PARTITIONS)}
    for index, (topic, user, kafka_ms, record) in enumerate(
            stream.Stream(seed, PAGES).in_order()):
        stray = topic == CLICKS and record["event_ms"] % 50 == 0
        log = logs[topic, (int(user[1:]) + stray) % PARTITIONS]
        offset = log[-1][0] + 1 if log else 0
        if index % 97 == 0:
            log.append((offset, kafka_ms, b"\xff"))
            offset += 1
        offset += 3 * (index % 201 == 0)
        log.append((offset, kafka_ms, stream.encode(topic, record)))
    return logs


def forgets_of(seed, events):
    """Users to forget, by the place of the record before."""
    rng = random.Random(seed)
    forgets, recent = {}, collections.deque([0], 40)
    for event in events:
        recent.append(event.user)
        if rng.randrange(FORGET_EVERY) == 0:
            forgets[event.topic, event.partition, event.offset] = \
                rng.sample(recent, min(len(recent), rng.randrange(1, 3)))
    return forgets


def write_events(path, events, forgets):
    with open(path, "wb") as file:
        for event in events:
            dead, ids = event.ids is None, event.ids or ()
            file.write(struct.pack(
                "<BBBBiqqqqQQQ", DEAD if dead else event.topic, event.topic,
                TRUNCATED if dead else 0, len(ids), event.partition,
                event.offset, event.own_ms, event.apply_ms, event.event_ms,
                event.user, event.event_id, event.impression) +
                struct.pack(f"<{len(ids)}Q", *ids))
            for user in forgets.get((event.topic, event.partition,
                                     event.offset), ()):
                file.write(struct.pack("<BBBBiqqqqQQQ", FORGET, 0, 0, 0, 0, 0,
                                       0, 0, 0, user, 0, 0))


class Differential(unittest.TestCase):
    maxDiff = 2000

    def check(self, seed, settings, features=FEATURES):
        with tempfile.TemporaryDirectory() as folder:
            def path(name):
                return os.path.join(folder, name)
            config = merge(stream.config(), {
                "kafka.brokers": "127.0.0.1:1", **settings})
            config["features"] += features
            logs = logs_of(seed)
            forgets = forgets_of(seed, merged(config, "/", logs))
            model = state_model.run(config, "/", logs, path("model"), forgets)
            self.assertGreater(model.position, 500)
            if not model.fnw:  # there only a few clicks wait
                self.assertGreater(sum(p.buckets["forgotten"] for p in
                                       model.partitions.values()), 10)
            write_events(path("events"), merged(config, "/", logs), forgets)
            chains = set()
            for number in (1, 2):
                out = path(f"out{number}")
                os.mkdir(out)
                with open(path("config.yaml"), "w") as file:
                    yaml.safe_dump(merge(config, {
                        "state": path(f"state{number}"),
                        "model_folder": path("models")}), file)
                done = subprocess.run(
                    [os.environ["APPLY_EVENTS"], path("config.yaml"),
                     path("events"), str(100 * seed + number), out],
                    stderr=subprocess.PIPE, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                for view in STATE_VIEWS:
                    with open(os.path.join(path("model"), view)) as a, \
                            open(os.path.join(out, view)) as b:
                        for line, other in zip(a, self.lines(b), strict=True):
                            self.assertEqual(line, other, view)
                with open(os.path.join(out, "meta")) as file:
                    chains.add(json.load(file)["chain"])
            self.assertEqual(len(chains), 1, "the journal's hash shows commits")

    @staticmethod
    def lines(file):
        """All but the reasons of dead letters, which the model lacks."""
        return (x for x in file if not x.startswith('{"reasons"'))


    def test_as_many_fields_as_there_may_be(self):
        features = stream.config()["features"] + WIDE
        self.assertEqual(sum(f.get("values", 1) for f in features),
                         FIELDS_MAX)
        self.check(3, SETTINGS["caps"], WIDE)


def add(name, settings, seed):
    def run(self):
        self.check(seed, settings)
    setattr(Differential, f"test_{name}_{seed}", run)


for _seed in (1, 2):
    for _name, _settings in SETTINGS.items():
        add(_name, _settings, _seed)

if __name__ == "__main__":
    unittest.main()
