# SPDX-License-Identifier: Apache-2.0
"""A small stream of impressions and clicks in the house schemas, with all
that may happen to one: pages, clicks before their impression, twice, late,
for nobody's impression or somebody else's, without impression, ids that come
back, clocks that lag. A function of its seed."""

import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "adapters"))
import container  # noqa: E402

SCHEMAS = os.path.normpath(os.path.join(HERE, "..", "..", "schemas"))
T0 = 1_700_000_000_000
TOPICS = ("impressions", "clicks")
SECOND = 1000


def schema_text(name):
    with open(os.path.join(SCHEMAS, name), encoding="utf-8") as file:
        return file.read()


_SCHEMAS = [json.loads(schema_text("impression.avsc")),
            json.loads(schema_text("click.avsc"))]


def encode(topic, record):
    return container.encode_record(_SCHEMAS[topic], record)


def config():
    """Feature mapping and rules that make a minute of stream matter."""
    return {
        "model_name": "test",
        "kafka": {"brokers": "", "announcement_topic": "model-announcements"},
        "impressions": {
            "topic": "impressions", "framing": "plain",
            "schema": os.path.join(SCHEMAS, "impression.avsc"),
            "event_id": "impression_id", "user": "user_id",
            "time": "event_ms"},
        "clicks": {
            "topic": "clicks", "framing": "plain",
            "schema": os.path.join(SCHEMAS, "click.avsc"), "event_id": "",
            "impression": "impression_id", "user": "user_id",
            "time": "event_ms"},
        "features": [
            {"name": "gender", "group": "profile", "dimension": 4,
             "path": "gender"},
            {"name": "age_level", "group": "profile", "dimension": 4,
             "path": "age_level"},
            {"name": "goods", "group": "item", "dimension": 12,
             "path": "goods"},
            {"name": "shop", "group": "item", "dimension": 12,
             "path": "shop"},
            {"name": "cate", "group": "item", "dimension": 8,
             "path": "cate"},
            {"name": "pid", "group": "context", "dimension": 4,
             "path": "pid"},
            {"name": "hour", "group": "context", "dimension": 4,
             "path": "event_ms", "transform": "hour"}],
        "ingest": {"label_mode": "window", "window_ms": 120_000,
                   "lateness_ms": 30_000, "skew_ms": 5000, "history_max": 10,
                   "history_slack": 64, "journal_keep": True,
                   "commit_events": 2000},
        "learner": {"kind": "din", "activation": "dice", "batch_size": 64,
                    "shards": 4, "threads": 1, "seed": 1, "flush_ms": 0,
                    "window_ms": 600_000, "window_samples": 2000,
                    "checkpoint_seconds": 1},
        # Windows this small are too noisy for a gate.
        "publish": {"delta_ms": 2000, "gate_auc_drop": 1},
    }


class Stream:
    """records: (topic, user, kafka_ms, record) in the order of sending."""

    def __init__(self, seed, pages, disorder=True):
        self._rng = random.Random(seed)
        self._disorder = disorder
        self._shown = []
        self.records = []
        at = T0
        for page in range(pages):
            at += self._rng.randrange(0, 3 * SECOND)
            self._page(page, at)

    def _often(self, share):
        return self._disorder and self._rng.random() < share

    def _send(self, topic, user, event_ms, **record):
        kafka_ms = event_ms
        if self._often(0.03):
            event_ms -= self._rng.randrange(40 * SECOND)
        if self._often(0.02):
            kafka_ms -= self._rng.randrange(60 * SECOND)
        record.update(user_id=user, event_ms=event_ms)
        self.records.append((topic, user, kafka_ms, record))
        if self._often(0.03):
            self.records.append((topic, user, kafka_ms, dict(record)))

    def _item(self, goods):
        return {"goods": f"g{goods}", "shop": f"s{goods % 37}",
                "cate": f"c{goods % 11}"}

    def _page(self, page, at):
        rng = self._rng
        user = f"u{int(rng.random() ** 2 * 300)}"
        number = int(user[1:])
        clicks = []
        for slot in range(5):
            goods = int(rng.random() ** 2 * 400)
            name = f"i{page}-{slot}"
            self._shown.append(name)
            self._send(0, user, at, impression_id=name, pid=f"p{slot}",
                       gender=(None, "f", "m")[number % 3],
                       age_level=number % 7 or None, **self._item(goods))
            # Taste: users like goods of their own remainder.
            if rng.random() < (0.45 if goods % 5 == number % 5 else 0.05):
                clicks.append((name, goods))
        for name, goods in clicks:
            after = rng.randrange(100, 90 * SECOND if self._disorder
                                  else 20 * SECOND)
            self._click(name, user, at + after, goods)
        if rng.random() < 0.05:
            self._click(None, user, at + 50, rng.randrange(400))

    def _click(self, name, user, at, goods):
        if self._often(0.05):
            name = f"nobody{self._rng.randrange(50)}"
        elif self._often(0.05):
            name = self._rng.choice(self._shown)
        if self._often(0.02):
            user = f"u{self._rng.randrange(300)}"
        self._send(1, user, at, impression_id=name, **self._item(goods))

    def in_order(self):
        """By Kafka time, as producers with clocks would have sent them."""
        return sorted(self.records, key=lambda x: x[2])

    def send(self, client, partitions=4, encode_value=encode):
        """To the topics, users spread over partitions (a few clicks strayed
        into the next one); returns the count."""
        records = self.in_order()
        for topic, user, kafka_ms, record in records:
            stray = topic == 1 and record["event_ms"] % 50 == 0
            client.send(TOPICS[topic], encode_value(topic, record),
                        key=user.encode(), timestamp_ms=kafka_ms,
                        partition=(int(user[1:]) + stray) % partitions)
        client.flush()
        return len(records)

    def write(self, folder):
        """impressions.avro and clicks.avro, by event time."""
        os.makedirs(folder, exist_ok=True)
        for topic, name in enumerate(TOPICS):
            path = os.path.join(folder, name + ".avro")
            with container.Writer(path, json.dumps(_SCHEMAS[topic])) as out:
                for _, _, _, record in sorted(
                        (x for x in self.records if x[0] == topic),
                        key=lambda x: x[3]["event_ms"]):
                    out.append(encode(topic, record))
        return len(self.records)
