# SPDX-License-Identifier: Apache-2.0
"""From the logs of all partitions to one stream of events in the order in
which they are applied: decoding, ids, stamps and the merge.

1. stamp = min(event_ms, Kafka's timestamp); own_ms = running maximum of the
   stamps of a partition; without floors apply_ms = own_ms.
2. Order: (apply_ms, own_ms, impressions first, partition, offset).
3. A record that cannot be read is an event too (ids is None): it has an
   offset to account for and moves no clock.
Written apart from the daemon, from the same rules, so that neither checks
itself. It knows no idle partitions: the logs are complete."""

import collections
import functools
import heapq
import json
import os
import struct
import sys

import xxhash

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "adapters"))
import container  # noqa: E402

IMPRESSIONS, CLICKS = 0, 1
TOPICS = ("impressions", "clicks")
ABSENT = (1 << 64) - 1  # place of a multi-hot field that is not used
AHEAD_MS = 300_000

Event = collections.namedtuple(
    "Event", "apply_ms own_ms topic partition offset event_ms user event_id "
             "impression ids")


@functools.lru_cache(maxsize=None)
def seed(table):
    return xxhash.xxh3_64_intdigest(table.encode(), 0)


def identify(table_seed, raw):
    return xxhash.xxh3_64_intdigest(raw, table_seed) or 1


@functools.lru_cache(maxsize=1 << 20)
def identify_value(table_seed, value):
    """Id of a decoded value; nothing there is id 0."""
    if value is None:
        return 0
    if isinstance(value, bytes):
        return identify(table_seed, value)
    return identify(table_seed, str(value).encode())


def in_order(features):
    """Features by group: profile, item, then the others as they come."""
    groups = ["profile", "item"]
    groups += [f["group"] for f in features if f["group"] not in groups]
    return sorted(features, key=lambda f: groups.index(f["group"]))


class Field:
    """One feature: from a record to one id, or to `values` of them."""

    def __init__(self, feature, topic):
        self.path = feature["path"]
        if topic == CLICKS:
            self.path = feature.get("click", self.path)
        self.seed = seed(feature.get("table", feature["name"]))
        self.derive = getattr(self, feature.get("transform", "none"))
        self.bounds = feature.get("bounds", ())
        self.values = feature.get("values", 1)

    def none(self, value):
        return value

    def hour(self, value):
        return value // 3_600_000 % 24

    def weekday(self, value):
        # 5 January 1970 was a Monday.
        return (value // 86_400_000 - 4) % 7

    def bucket(self, value):
        return sum(bound <= value for bound in self.bounds)

    def ids(self, record):
        value = record[self.path]
        if self.values == 1:
            return [0 if value is None else
                    identify_value(self.seed, self.derive(value))]
        if not isinstance(value, list):
            value = [value]
        found = [identify_value(self.seed, x) for x in value
                 if x is not None][:self.values]
        return found + [ABSENT] * (self.values - len(found))


class Mapping:
    """How one topic's record becomes an event, after the configuration."""

    def __init__(self, topic, config, folder):
        self.topic = topic
        part = config[TOPICS[topic]]
        self.framing = part.get("framing", "plain")
        self.path = os.path.join(folder, part["schema"])
        self.time, self.user = part["time"], part["user"]
        self.event_id = part.get("event_id") or None
        self.impression = part.get("impression") or None
        self.event_max = config.get("ingest", {}).get("event_max", 1 << 20)
        self.fields = [Field(feature, topic)
                       for feature in in_order(config["features"])
                       if topic == IMPRESSIONS or feature["group"] == "item"]
        self._schemas = {}

    def _schema(self, path):
        if path not in self._schemas:
            with open(path, encoding="utf-8") as file:
                self._schemas[path] = json.load(file)
        return self._schemas[path]

    def decode(self, value):
        """Record as a dictionary, or None for a dead letter."""
        if value is None or len(value) > self.event_max:
            return None
        path = self.path
        if self.framing == "confluent":
            if len(value) < 5 or value[0] != 0:
                return None
            path = os.path.join(path,
                                f"{struct.unpack('>I', value[1:5])[0]}.avsc")
            if not os.path.exists(path):
                return None
            value = value[5:]
        try:
            return container.decode_record(self._schema(path), value)
        except container.DecodeError:
            return None

    def whole(self, record):
        """Whether what an event cannot do without is there and not empty."""
        return bool(record[self.user]) and \
            (not self.event_id or bool(record[self.event_id]))

    def ids(self, record):
        return tuple(x for field in self.fields for x in field.ids(record))

    def identity(self, record, user, ids, event_ms):
        """(event id, id of the impression that it is or names)"""
        if self.topic == IMPRESSIONS:
            event_id = identify(seed("event"), record[self.event_id])
            return event_id, event_id
        named = record[self.impression] if self.impression else None
        impression = 0 if named is None else identify(seed("event"), named)
        if self.event_id:
            return identify(seed("click"), record[self.event_id]), impression
        words = (impression, user) + ids
        return identify(seed("click"), struct.pack(f"<{len(words)}Qq", *words,
                                                   event_ms)), impression


def partition_events(mapping, partition, log, floors=(), clock=None):
    """Events of one partition. log: (offset, kafka_ms, value) by offset.
    floors: {offset: apply_ms} that idleness decided, for a log that was read
    in parts; clock: [own_ms, apply_ms], where the part before ended, moved
    on."""
    own_ms, apply_ms = clock or (0, 0)
    for offset, kafka_ms, value in log:
        record = mapping.decode(value)
        if record and not mapping.whole(record):
            record = None
        event_ms = record[mapping.time] if record else 0
        if offset in floors:
            apply_ms = max(apply_ms, floors[offset])
        if event_ms <= 0 or 0 < kafka_ms < event_ms - AHEAD_MS:
            yield Event(apply_ms, own_ms, mapping.topic, partition, offset,
                        0, 0, 0, 0, None)
            continue
        stamp = min(event_ms, kafka_ms) if kafka_ms > 0 else event_ms
        own_ms = max(own_ms, stamp)
        apply_ms = max(apply_ms, own_ms)
        if clock:
            clock[:] = own_ms, apply_ms
        user = identify_value(seed("user"), record[mapping.user])
        ids = mapping.ids(record)
        event_id, impression = mapping.identity(record, user, ids, event_ms)
        yield Event(apply_ms, own_ms, mapping.topic, partition, offset,
                    event_ms, user, event_id, impression, ids)


def merged(config, folder, logs, floors=None, clocks=None):
    """logs: {(topic, partition): [(offset, kafka_ms, value)]}; folder: where
    the configuration's relative paths start. floors and clocks: likewise, as
    partition_events() takes them."""
    mappings = [Mapping(topic, config, folder) for topic in (0, 1)]
    floors, clocks = floors or {}, clocks or {}
    return heapq.merge(*(partition_events(mappings[topic], partition, log,
                                          floors.get((topic, partition), ()),
                                          clocks.get((topic, partition)))
                         for (topic, partition), log in logs.items()))
