#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""producer.py BROKERS SCHEMAS USER...: a producer of impressions and clicks in
Python, with confluent-kafka and fastavro. Shows each user a page of five items
and has the third clicked. schemas/producers.md says why each setting is
there."""
import io
import os
import sys
import time

import confluent_kafka
import fastavro

failures = []


def delivered(error, _message):
    """What was not delivered in the end was not sent."""
    if error:
        failures.append(str(error))


def send(producer, topic, schema, record):
    """The key is the user: all of a user's events are in one partition."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    while True:
        try:
            producer.produce(topic, out.getvalue(), key=record["user_id"],
                             timestamp=record["event_ms"],
                             on_delivery=delivered)
            break
        except BufferError:
            producer.poll(0.1)
    producer.poll(0)


def main():
    brokers, folder, *users = sys.argv[1:]
    impression, click = (fastavro.schema.load_schema(
        os.path.join(folder, name + ".avsc")) for name in ("impression",
                                                           "click"))
    producer = confluent_kafka.Producer({
        "bootstrap.servers": brokers,
        "enable.idempotence": True,       # no doubles, no new order
        "acks": "all",                    # no loss
        "partitioner": "murmur2_random",  # a user's place, as Java's
        "linger.ms": 5})
    for user in users:
        now = time.time_ns() // 1_000_000
        for slot in range(5):
            # The id is made when the page is: sent twice, it is one event.
            item = {"impression_id": f"python-{user}-{now}-{slot}",
                    "user_id": user, "goods": f"goods{slot}",
                    "shop": "shop1", "cate": "cate1"}
            send(producer, "impressions", impression,
                 {**item, "event_ms": now, "pid": f"p{slot}"})
            if slot == 2:
                send(producer, "clicks", click, {**item, "event_ms": now + 1})
    left = producer.flush(60)
    if left or failures:
        sys.exit(f"producer: {left} records left, errors: {failures[:3]}")


main()
