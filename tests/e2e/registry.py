#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records of producers and schemas that nobody here wrote: nested, with ids
that are long, int, bytes, string or enum, microseconds, and three versions of
the impression's schema, one of which lacks a field and calls another otherwise
(a reader's schema knows both), written by PyPI's AvroSerializer against
Apicurio into Apache Kafka.

1. With the registry frozen at the start the partitions are parked, nothing is
   lost; once it answers, sequences, samples and labels are those of the same
   events in the house schemas, written plainly to other topics.
2. With the registry gone the daemon starts again and decodes what it knows.
3. kcat's records (no framing) are dead letters `wire`, each with its reason."""

import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
import apicurio
import stream
import topics
from daemon import Daemon, check, compare, dump, merge
from kafka import Kafka
from paths import Steps, say

PARTITIONS = 3
PAGES = 700
WHAT = {"type": "record", "name": "What", "fields": [
    {"name": "cate", "type": {"type": "enum", "name": "Cate", "symbols": [
        f"c{n}" for n in range(11)]}},
    {"name": "goods", "type": "bytes"},
    {"name": "shop", "type": ["null", "int"]}]}
LOGIN = {"name": "login", "type": "long"}
LEVEL = {"name": "level", "type": ["long", "null"]}
SEX = {"name": "sex", "type": ["null", {"type": "enum", "name": "Sex",
                                        "symbols": ["m", "f"]}]}


def who(*fields):
    return {"type": "record", "name": "Who", "fields": list(fields)}


WHO = who(LOGIN, LEVEL, SEX)
AT = {"type": "long", "logicalType": "timestamp-micros"}


def record(name, *fields):
    return {"type": "record", "name": name, "namespace": "shop.events",
            "fields": [{"name": key, "type": kind} for key, kind in fields]}


VIEW = record("View", ("at", AT), ("view", "bytes"), ("who", WHO),
              ("what", WHAT), ("slot", ["null", "string"]))
NEWER = record("View", ("tags", {"type": "map", "values": "double"}),
               ("slot", ["string", "null"]), ("what", WHAT), ("who", WHO),
               ("view", "bytes"), ("at", AT),
               ("trace", {"type": "array", "items": "string"}))
TAP = record("Tap", ("what", WHAT), ("of", ["null", "string"]),
             ("login", "long"), ("at", AT))
NEWEST = record("View", ("at", AT), ("view", "bytes"),
                ("who", who(LEVEL, LOGIN)), ("what", WHAT),
                ("place", ["null", "string"]))
SCHEMAS = (VIEW, NEWER, TAP, NEWEST)
READER = record("View", ("at", AT), ("view", "bytes"),
                ("who", who(LOGIN, LEVEL, {**SEX, "default": None})),
                ("what", WHAT), ("slot", ["null", "string"]))
READER["fields"][-1]["aliases"] = ["place"]


def shaped(topic, number, event):
    """(schema, record) of the same event in the foreign schemas."""
    what = {"goods": event["goods"], "shop": int(event["shop"]),
            "cate": event["cate"]}
    login = int(event["user_id"])
    at = event["event_ms"] * 1000 + 999
    if topic == 1:
        return 2, {"what": what, "of": event["impression_id"],
                   "login": login, "at": at}
    view = {"at": at, "view": event["impression_id"], "slot": event["pid"],
            "who": {"login": login, "sex": event["gender"],
                    "level": event["age_level"]}, "what": what}
    if event["gender"] is None and number % 2:
        del view["who"]["sex"]
        view["place"] = view.pop("slot")
        return 3, view
    if number % 3:
        return 0, view
    return 1, {**view, "tags": {"weight": number / 7},
               "trace": ["a"] * (number % 5)}


def foreign_config(config, url, reader_schema):
    """The mapping onto the foreign records."""
    view = {"topic": "views", "framing": "confluent",
            "reader_schema": reader_schema,
            "event_id": "view", "user": "who.login", "time": "at"}
    tap = {"topic": "taps", "framing": "confluent",
           "event_id": "", "impression": "of", "user": "login", "time": "at"}
    path = {"gender": "who.sex", "age_level": "who.level",
            "goods": "what.goods", "shop": "what.shop", "cate": "what.cate",
            "pid": "slot", "hour": "at"}
    features = [{**x, "path": path[x["name"]]} for x in config["features"]]
    return {**config, "registry": {"url": url}, "impressions": view,
            "clicks": tap, "features": features}


class Test:
    def __init__(self, interestd, folder, kafka, registry):
        self.interestd, self.folder = interestd, folder
        self.kafka, self.registry = kafka, registry
        self.plain = merge(stream.config(), {
            "kafka.brokers": kafka.brokers,
            "kafka.announcement_topic": "",
            "ingest.lateness_ms": 120_000})
        reader = os.path.join(folder, "reader.avsc")
        with open(reader, "w", encoding="utf-8") as file:
            json.dump(READER, file)
        self.foreign = foreign_config(self.plain, registry.url, reader)

    def fill(self):
        made = stream.Stream(5, PAGES)
        for _, _, _, event in made.records:  # digits, as numbers would be
            event["user_id"] = event["user_id"][1:]
            event["shop"] = event["shop"][1:]
        self.events = len(made.records)
        with topics.Client(self.kafka.brokers) as client:
            client.create(PARTITIONS, "impressions", "clicks", "views",
                          "taps")
            made.send(client, PARTITIONS)
        names = []
        for number, schema in enumerate(SCHEMAS):
            names.append(os.path.join(self.folder, f"{number}.avsc"))
            with open(names[-1], "w", encoding="utf-8") as file:
                json.dump(schema, file)
        lines = []
        for number, (topic, user, kafka_ms, event) in enumerate(
                made.in_order()):
            schema, value = shaped(topic, number, event)
            stray = topic == 1 and event["event_ms"] % 50 == 0
            lines.append(json.dumps({
                "topic": ("views", "taps")[topic], "key": user,
                "partition": (int(user[1:]) + stray) % PARTITIONS,
                "timestamp_ms": kafka_ms, "schema": schema,
                "record": value}) + "\n")
        script = os.path.join(paths.TESTS, "support",
                              "produce_registered.py")
        sent = subprocess.run(
            [apicurio.client(), "-B", script, self.kafka.brokers,
             self.registry.url, *names], input="".join(lines), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        check(sent.returncode == 0, f"the producer: {sent.stdout[-2000:]}")
        say(f"  {self.events} events, twice")

    def run_plain(self):
        daemon = Daemon(self.interestd, os.path.join(self.folder, "plain"),
                        self.plain)
        try:
            daemon.start()
            daemon.wait_trained(self.events, 300)
            daemon.stop()
        finally:
            daemon.end()
        self.expected = os.path.join(self.folder, "plain", "out")
        dump(daemon, self.expected)
        self.weights = daemon.checkpoint()["digest"]

    def run_foreign(self):
        self.daemon = daemon = Daemon(
            self.interestd, os.path.join(self.folder, "foreign"),
            self.foreign)
        self.registry.process.send_signal(signal.SIGSTOP)
        try:
            daemon.start()
            status = daemon.wait(
                lambda s: s["ingest"]["parked_partitions"] > 0
                and s["ingest"]["registry_error"], "a parked partition", 60)
            say(f"  parked: {status['ingest']['registry_error']}")
            check(status["ingest"]["events"] == 0, "events without a schema")
            self.registry.process.send_signal(signal.SIGCONT)
            status = daemon.wait_trained(self.events, 300)
            check(status["ingest"]["parked_partitions"] == 0, "still parked")
            check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
            daemon.stop()
        finally:
            self.registry.process.send_signal(signal.SIGCONT)
            daemon.end()
        out = os.path.join(self.folder, "foreign", "out")
        dump(daemon, out)
        compare("house and foreign schemas", self.expected, out)
        found = daemon.checkpoint()["digest"]
        check(found == self.weights, f"weights {found}, not {self.weights}")

    def run_alone(self):
        """The same framed bytes once more: known schemas, ids seen before or
        late; with kcat's unframed ones among them."""
        self.registry.stop()
        logs = topics.read_logs(self.kafka.brokers, ("views",))
        newest = max(stamp for log in logs.values() for _, stamp, _ in log)
        again = [value for log in logs.values() for _, _, value in log][:500]
        with topics.Client(self.kafka.brokers) as client:
            for value in again:
                client.send("views", value, key=b"u1", partition=0,
                            timestamp_ms=newest)
            client.flush()
        kcat = subprocess.run(
            ["kcat", "-P", "-b", self.kafka.brokers, "-t", "taps", "-p", "0"],
            input="one\ntwo\n", text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=60)
        check(kcat.returncode == 0, f"kcat: {kcat.stdout}")
        daemon = self.daemon
        try:
            daemon.start()
            status = daemon.wait_applied(self.events + len(again) + 2, 120)
            reasons = status["ingest"]["dead_letter_reasons"]
            check({k: v for k, v in reasons.items() if v} == {"wire": 2},
                  f"reasons {reasons}")
            check(status["ingest"]["registry_requests"] == 0,
                  "asked for what is kept")
            daemon.stop()
        finally:
            daemon.end()


def test(arguments, folder):
    steps = Steps()
    apicurio.client()
    with apicurio.Registry() as registry, Kafka() as kafka:
        one = Test(arguments.interestd, folder, kafka, registry)
        steps.run("register and produce", one.fill)
        steps.run("house schemas, plainly", one.run_plain)
        steps.run("foreign schemas, the registry frozen at first",
                  one.run_foreign)
        steps.run("again without the registry; kcat", one.run_alone)


if __name__ == "__main__":
    paths.main(test)
