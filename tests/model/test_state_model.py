#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The model against cases written by hand, a rule or two each, and against
itself under random interleavings of the partitions' arrival."""

import json
import os
import random
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from events import (ABSENT, CLICKS, IMPRESSIONS, Mapping, identify,
                    identify_value, merged, partition_events, seed)
from state_model import Model, hexadecimal
import container

SECOND = 1000
T0 = 1_700_000_000_000
WINDOW, LATENESS, SKEW = 100 * SECOND, 60 * SECOND, 5 * SECOND

SCHEMAS = {
    "impression.avsc": [("impression_id", "string"), ("user_id", "string"),
                        ("event_ms", "long"), ("goods", "long"),
                        ("pid", ["null", "string"])],
    "click.avsc": [("impression_id", ["null", "string"]),
                   ("user_id", "string"), ("event_ms", "long"),
                   ("goods", "long")],
}


def config(**ingest):
    settings = {"label_mode": "window", "window_ms": WINDOW,
                "lateness_ms": LATENESS, "skew_ms": SKEW, "history_max": 3,
                "history_slack": 2}
    settings.update(ingest)
    return {
        "impressions": {"topic": "impressions", "schema": "impression.avsc",
                        "event_id": "impression_id", "user": "user_id",
                        "time": "event_ms"},
        "clicks": {"topic": "clicks", "schema": "click.avsc", "event_id": "",
                   "impression": "impression_id", "user": "user_id",
                   "time": "event_ms"},
        "features": [
            {"name": "goods", "group": "item", "path": "goods"},
            {"name": "pid", "group": "context", "path": "pid"},
            {"name": "hour", "group": "context", "path": "event_ms",
             "transform": "hour"}],
        "ingest": settings, "learner": {"batch_size": 4}}


def encode(fields, record):
    out = b""
    for name, kind in fields:
        value = record.get(name)
        if isinstance(kind, list):
            out += container.encode_long(0 if value is None else 1)
            kind = "null" if value is None else "string"
        if kind == "string":
            out += container.encode_string(value)
        elif kind == "long":
            out += container.encode_long(value)
    return out


class Stream:
    """Logs of a few partitions, appended to by hand."""

    def __init__(self, **ingest):
        self.config = config(**ingest)
        self.logs = {}
        self.folder = None

    def append(self, topic, partition, value, kafka_ms=-1, skip=0):
        log = self.logs.setdefault((topic, partition), [])
        offset = log[-1][0] + 1 if log else 0
        log.append((offset + skip, kafka_ms, value))

    def impression(self, name, user, at, goods=1, partition=0, **more):
        self.append(IMPRESSIONS, partition, encode(
            SCHEMAS["impression.avsc"],
            {"impression_id": name, "user_id": user, "event_ms": T0 + at,
             "goods": goods, "pid": "top"}), **more)

    def click(self, name, user, at, goods=1, partition=0, **more):
        self.append(CLICKS, partition, encode(
            SCHEMAS["click.avsc"],
            {"impression_id": name, "user_id": user, "event_ms": T0 + at,
             "goods": goods}), **more)

    def tick(self, at, partition=0):
        """An impression of nobody in particular: time goes on."""
        self.impression(f"tick{at}", "clock", at, partition=partition)

    def events(self):
        mappings = []
        for topic in (IMPRESSIONS, CLICKS):
            mapping = Mapping(topic, self.config, "")
            mapping._schemas[mapping.path] = {"fields": [
                {"name": n, "type": k}
                for n, k in SCHEMAS[os.path.basename(mapping.path)]]}
            mappings.append(mapping)
        return [partition_events(mappings[t], p, log)
                for (t, p), log in self.logs.items()]

    def run(self):
        import heapq
        lines = []
        model = Model(self.config, lines.append)
        for event in heapq.merge(*self.events()):
            model.apply(event)
        return Result(model, lines)


class Result:
    def __init__(self, model, lines):
        self.model = model
        self.journal = [json.loads(line) for line in lines]
        self.lines = lines

    def samples(self, user=None):
        wanted = user and f'{identify_value(seed("user"), user.encode()):016x}'
        return [x for x in self.journal if "position" in x
                and (wanted is None or x["user"] == wanted)]

    def finals(self):
        return [x for x in self.journal if "final" in x]

    def buckets(self, topic, partition=0):
        counts = self.model.partitions[topic, partition].buckets
        return {k: v for k, v in counts.items() if v}

    def behaviors(self, user):
        found = self.model.users[identify_value(seed("user"), user.encode())]
        return [(t - T0, o) for t, o, _ in found.behaviors]


def goods(*values):
    return [[f'{identify_value(seed("goods"), v):016x}'] for v in values]


END = WINDOW + LATENESS + 1000 * SECOND


class Features(unittest.TestCase):
    def ids(self, record, *features):
        settings = dict(config(), features=[
            {"name": "f", "path": "x", **feature} for feature in features])
        return Mapping(IMPRESSIONS, settings, "").ids(record)

    def number(self, value, name="f"):
        return identify(seed(name), str(value).encode())

    def test_runs(self):
        run = {"group": "item", "values": 3}
        self.assertEqual(self.ids({"x": [b"a", None, b"b"]}, run), (
            identify(seed("f"), b"a"), identify(seed("f"), b"b"), ABSENT))
        self.assertEqual(self.ids({"x": [1, 2, 3, 4]}, run),
                         tuple(self.number(x) for x in (1, 2, 3)))
        for nothing in (None, [], [None]):
            self.assertEqual(self.ids({"x": nothing}, run), (ABSENT,) * 3)
        self.assertEqual(self.ids({"x": 7}, run),
                         (self.number(7), ABSENT, ABSENT))

    def test_derived_numbers(self):
        ages = {"group": "profile", "transform": "bucket",
                "bounds": [18, 25.5]}
        for age, bucket in ((17, 0), (18, 1), (25, 1), (26, 2)):
            self.assertEqual(self.ids({"x": age}, ages),
                             (self.number(bucket),))
        self.assertEqual(self.ids({"x": None}, ages), (0,))
        days = {"group": "time", "transform": "weekday"}
        # A Tuesday, 17 October 2017, and the moment before it.
        self.assertEqual(self.ids({"x": 1_508_198_400_000}, days),
                         (self.number(1),))
        self.assertEqual(self.ids({"x": 1_508_198_399_999}, days),
                         (self.number(0),))

    def test_order_of_groups(self):
        features = [{"name": name, "group": group, "path": name}
                    for name, group in (("a", "time"), ("b", "context"),
                                        ("c", "item"), ("d", "time"),
                                        ("e", "profile"))]
        self.assertEqual(
            self.ids(dict.fromkeys("abcde", 1), *features),
            tuple(self.number(1, name) for name in "ecadb"))

    def test_absent_places_are_null(self):
        self.assertEqual(hexadecimal([1, ABSENT]), '["0000000000000001",null]')


class Window(unittest.TestCase):
    def test_click_makes_a_positive_and_a_behavior(self):
        s = Stream()
        s.impression("a", "u", 0, goods=7)
        s.click("a", "u", 2 * SECOND, goods=9)
        s.impression("b", "u", 3 * SECOND, goods=8)
        s.tick(END)
        r = s.run()
        self.assertEqual([x["label"] for x in r.samples("u")], [1, 0])
        # The behavior has the impression's item, not the click's.
        self.assertEqual([x["history"] for x in r.samples("u")],
                         [[], goods(7)])
        self.assertEqual(r.buckets(CLICKS), {"joined_click": 1})
        self.assertEqual(r.buckets(IMPRESSIONS),
                         {"positive": 1, "negative": 1, "waiting": 1})

    def test_ids_are_in_group_order_with_hour_and_null(self):
        s = Stream()
        s.impression("a", "u", 0, goods=7)
        s.tick(END)
        hour = T0 // 3_600_000 % 24
        self.assertEqual(s.run().samples("u")[0]["ids"], [
            f'{identify_value(seed("goods"), 7):016x}',
            f'{identify_value(seed("pid"), b"top"):016x}',
            f'{identify(seed("hour"), str(hour).encode()):016x}'])

    def test_close_is_after_window_and_lateness_not_before(self):
        for at, samples in ((WINDOW + LATENESS, 0),
                            (WINDOW + LATENESS + 1, 1)):
            s = Stream()
            s.impression("a", "u", 0)
            s.tick(at)
            self.assertEqual(len(s.run().samples()), samples)

    def test_order_of_closing(self):
        s = Stream()
        for name, partition in (("a", 2), ("b", 0), ("c", 1)):
            s.impression(name, name, 0, partition=partition)
        s.impression("d", "d", 1, partition=2)
        s.tick(END)
        users = [x["user"] for x in s.run().samples()]
        self.assertEqual(users, [f'{identify_value(seed("user"), u):016x}'
                                 for u in (b"b", b"c", b"a", b"d")])

    def test_click_before_its_impression_waits(self):
        s = Stream()
        s.click("a", "u", -2 * SECOND)
        s.impression("a", "u", 0)
        s.tick(END)
        r = s.run()
        self.assertEqual(r.buckets(CLICKS), {"joined_click": 1})
        self.assertEqual(r.samples("u")[0]["label"], 1)
        # max(t_c, t_i): its own click is never in its history.
        self.assertEqual(r.behaviors("u"), [(0, 0)])

    def test_click_too_early_is_an_orphan(self):
        s = Stream()
        s.click("a", "u", -SKEW - 1)
        s.impression("a", "u", 0)
        s.tick(END)
        r = s.run()
        self.assertEqual(r.buckets(CLICKS), {"orphan": 1})
        self.assertEqual(r.samples("u")[0]["label"], 0)
        self.assertEqual(r.behaviors("u"), [(-SKEW - 1, 0)])

    def test_click_at_the_ends_of_the_window(self):
        for at, bucket in ((WINDOW, "joined_click"), (WINDOW + 1, "orphan")):
            s = Stream()
            s.impression("a", "u", 0)
            s.click("a", "u", at)
            self.assertEqual(s.run().buckets(CLICKS), {bucket: 1})

    def test_other_users_click_is_an_orphan(self):
        s = Stream()
        s.impression("a", "u", 0)
        s.click("a", "v", 1)
        r = s.run()
        self.assertEqual(r.buckets(CLICKS), {"orphan": 1})
        self.assertEqual(r.behaviors("v"), [(1, 0)])

    def test_second_click_joins_without_a_sample(self):
        s = Stream()
        s.impression("a", "u", 0)
        s.click("a", "u", 1)
        s.click("a", "u", 2)
        s.tick(END)
        r = s.run()
        self.assertEqual(r.buckets(CLICKS), {"joined_click": 2})
        self.assertEqual(len(r.samples("u")), 1)
        self.assertEqual(r.behaviors("u"), [(1, 0), (2, 1)])

    def test_unknown_impression_becomes_organic(self):
        due = LATENESS + SKEW
        for at, bucket in ((due, "waiting"), (due + 1, "organic")):
            s = Stream()
            s.click("none", "u", 0)
            s.tick(at)
            self.assertEqual(s.run().buckets(CLICKS), {bucket: 1})

    def test_click_without_impression_is_a_behavior(self):
        s = Stream()
        s.click(None, "u", 5)
        r = s.run()
        self.assertEqual(r.buckets(CLICKS), {"behavior": 1})
        self.assertEqual(r.behaviors("u"), [(5, 0)])


class Memory(unittest.TestCase):
    def test_duplicate_while_open(self):
        s = Stream()
        s.impression("a", "u", 0)
        s.tick(LATENESS + 1)       # forgotten by time, but open
        s.impression("a", "u", LATENESS + 2)
        self.assertEqual(s.run().buckets(IMPRESSIONS),
                         {"duplicate": 1, "waiting": 2})

    def test_id_returns_after_it_was_closed_and_forgotten(self):
        s = Stream()
        s.impression("a", "u", 0)
        s.tick(END)
        s.impression("a", "u", END + 1)
        self.assertEqual(s.run().buckets(IMPRESSIONS),
                         {"negative": 1, "waiting": 2})

    def test_click_is_forgotten_by_its_partitions_clock(self):
        for at, buckets in (
                (LATENESS, {"behavior": 2, "duplicate": 1}),
                (LATENESS + 1, {"behavior": 2, "late": 1})):
            s = Stream()
            s.click(None, "u", 0)
            s.click(None, "v", at)
            s.click(None, "u", 0)
            self.assertEqual(s.run().buckets(CLICKS), buckets)

    def test_clicks_of_equal_fields_are_one_click(self):
        s = Stream()
        s.click("a", "u", 0, goods=1)
        s.click("a", "u", 0, goods=2)
        s.click("a", "u", 0, goods=1)
        self.assertEqual(s.run().buckets(CLICKS),
                         {"waiting": 2, "duplicate": 1})

    def test_late_impression_is_only_counted(self):
        s = Stream()
        s.tick(LATENESS + 1)
        s.impression("a", "u", 0)
        s.impression("b", "u", 1)
        self.assertEqual(s.run().buckets(IMPRESSIONS),
                         {"late": 1, "waiting": 2})

    def test_late_click_is_a_behavior_never_a_label(self):
        s = Stream()
        s.impression("a", "u", 0)
        s.click(None, "v", LATENESS + 11)
        s.click("a", "u", 10)
        s.tick(END)
        r = s.run()
        self.assertEqual(r.buckets(CLICKS), {"late": 1, "behavior": 1})
        self.assertEqual(r.samples("u")[0]["label"], 0)
        self.assertEqual(r.behaviors("u"), [(10, 0)])

    def test_other_partitions_do_not_make_late(self):
        s = Stream()
        s.tick(LATENESS + 1, partition=1)
        s.impression("a", "u", 0)
        self.assertEqual(s.run().buckets(IMPRESSIONS), {"waiting": 1})

    def test_kafka_time_bounds_the_stamp(self):
        s = Stream()
        s.impression("a", "u", 200 * SECOND, kafka_ms=T0)
        s.impression("b", "u", 0, kafka_ms=T0)
        self.assertEqual(s.run().buckets(IMPRESSIONS), {"waiting": 2})


class History(unittest.TestCase):
    def clicks(self, s, count):
        for n in range(count):
            s.click(None, "u", n, goods=n)

    def test_latest_come_oldest_first(self):
        s = Stream()
        self.clicks(s, 5)
        s.impression("a", "u", 10)
        s.tick(END)
        self.assertEqual(s.run().samples("u")[0]["history"], goods(2, 3, 4))

    def test_behavior_of_the_same_moment_is_not_history(self):
        s = Stream()
        s.click(None, "u", 9, goods=1)
        s.click(None, "u", 10, goods=2)
        s.impression("a", "u", 10)
        s.tick(END)
        self.assertEqual(s.run().samples("u")[0]["history"], goods(1))

    def test_behavior_applied_later_is_not_seen(self):
        s = Stream()
        s.impression("x", "v", 50)
        s.impression("a", "u", 40)   # own_ms 50
        s.click(None, "w", 60)
        s.click(None, "u", 30)       # older, but applied at 60
        s.tick(END)
        self.assertEqual(s.run().samples("u")[0]["history"], [])

    def test_overflow_of_the_record_shortens_never_renews(self):
        s = Stream()
        self.clicks(s, 3)
        s.impression("a", "u", 10)
        for n in range(4):           # capacity 5: 0 and 1 are pushed out
            s.click(None, "u", 20 + n, goods=20 + n)
        s.tick(END)
        r = s.run()
        self.assertEqual(r.samples("u")[0]["history"], goods(2))
        self.assertEqual(r.model.users[identify_value(
            seed("user"), b"u")].next_ordinal, 7)

    def test_older_than_all_of_a_full_record_still_takes_an_ordinal(self):
        s = Stream()
        for n in range(5):
            s.click(None, "u", 100 + n)
        s.click(None, "u", 50)
        r = s.run()
        self.assertEqual(r.behaviors("u"), [(100 + n, n) for n in range(5)])
        self.assertEqual(r.model.users[identify_value(
            seed("user"), b"u")].next_ordinal, 6)

    def test_ttl(self):
        s = Stream(history_ttl_ms=20)
        for at in (0, 10, 11):
            s.click(None, "u", at, goods=at)
        s.impression("a", "u", 30)
        s.tick(END)
        self.assertEqual(s.run().samples("u")[0]["history"], goods(10, 11))


class Fnw(unittest.TestCase):
    def stream(self, **more):
        return Stream(label_mode="fnw", **more)

    def test_negative_at_once_positive_at_the_click_final_at_the_close(self):
        s = self.stream()
        s.impression("a", "u", 0)
        s.click("a", "u", 5)
        s.click("a", "u", 6)
        s.tick(END)
        r = s.run()
        self.assertEqual([(x["label"], x["kind"]) for x in r.samples("u")],
                         [(0, "fnw_negative"), (1, "fnw_positive")])
        self.assertEqual(r.finals(), [{"final": 0, "label": 1}])
        self.assertEqual(r.buckets(CLICKS),
                         {"positive": 1, "joined_click": 1})
        self.assertEqual(r.buckets(IMPRESSIONS), {"negative": 2})

    def test_final_without_click(self):
        s = self.stream()
        s.impression("a", "u", 0)
        s.tick(END)
        self.assertEqual(s.run().finals(), [{"final": 0, "label": 0}])

    def test_waiting_click_follows_its_impression_at_once(self):
        s = self.stream()
        s.click("a", "u", -1)
        s.impression("a", "u", 0)
        self.assertEqual([x["label"] for x in s.run().samples("u")], [0, 1])

    def test_positive_has_the_history_of_the_impression(self):
        s = self.stream()
        s.click(None, "u", 1, goods=1)
        s.impression("a", "u", 10)
        s.click(None, "u", 11, goods=2)
        s.click("a", "u", 12)
        self.assertEqual([x["history"] for x in s.run().samples("u")],
                         [goods(1), goods(1)])

    def test_eviction_writes_the_final_and_keeps_the_bucket(self):
        s = self.stream(pending_max=1)
        s.impression("a", "u", 0)
        s.impression("b", "u", 1)
        r = s.run()
        self.assertEqual(r.finals(), [{"final": 0, "label": 0}])
        self.assertEqual(r.buckets(IMPRESSIONS), {"negative": 2})


class Caps(unittest.TestCase):
    def test_eviction_takes_the_smallest_close(self):
        s = Stream(pending_max=2)
        s.impression("a", "u", 5)
        s.impression("b", "v", 6)
        s.impression("c", "w", 7)
        s.click("a", "u", 8)
        s.tick(END)
        r = s.run()
        self.assertEqual(r.buckets(IMPRESSIONS),
                         {"evicted": 1, "negative": 2, "waiting": 1})
        self.assertEqual(r.buckets(CLICKS), {"organic": 1})

    def test_down_sampling_keeps_positives(self):
        s = Stream(negative_keep=0.0)
        s.impression("a", "u", 0)
        s.impression("b", "u", 0)
        s.click("b", "u", 1)
        s.tick(END)
        r = s.run()
        self.assertEqual([x["label"] for x in r.samples()], [1])
        self.assertEqual(r.buckets(IMPRESSIONS), {
            "down_sampled": 1, "positive": 1, "waiting": 1})

    def test_down_sampling_is_a_share_by_hash(self):
        s = Stream(negative_keep=0.25)
        for n in range(2000):
            s.impression(f"i{n}", "u", 0)
        s.tick(END)
        kept = s.run().buckets(IMPRESSIONS)["negative"]
        self.assertTrue(400 < kept < 600, kept)

    def test_batches_end_after_every_fourth_sample(self):
        s = Stream()
        for n in range(9):
            s.impression(f"i{n}", f"u{n}", n)
        s.tick(END)
        ends = [x["batch_end"] for x in s.run().journal if "batch_end" in x]
        self.assertEqual(ends, [4, 8])


class Ledger(unittest.TestCase):
    def test_dead_letters_move_no_clock(self):
        s = Stream()
        s.append(CLICKS, 0, b"\xff\xff")
        s.append(CLICKS, 0, None)
        s.click(None, "u", 400 * SECOND, kafka_ms=T0)  # > 5 min ahead
        s.click(None, "u", -T0)                        # time 0
        s.click(None, "u", 1)
        r = s.run()
        self.assertEqual(r.buckets(CLICKS), {"dead_letter": 4, "behavior": 1})
        self.assertEqual(r.model.partitions[CLICKS, 0].own_ms, T0 + 1)

    def test_gaps_are_control(self):
        s = Stream()
        s.click(None, "u", 1)
        s.click(None, "u", 2, skip=3)
        r = s.run()
        self.assertEqual(r.buckets(CLICKS), {"control": 3, "behavior": 2})
        self.assertEqual(list(r.model.ledger()), [
            '{"topic":"clicks","partition":0,"start":0,"next":5,'
            '"buckets":{"behavior":2,"control":3}}',
            '{"totals":{"behavior":2,"control":3}}'])


class Interleaving(unittest.TestCase):
    """The journal is a function of the logs: the order in which partitions
    are listed or read does not show, the partitioning of users may."""

    def random_stream(self, seed_value):
        rng = random.Random(seed_value)
        s = Stream(label_mode=rng.choice(["window", "fnw"]),
                   pending_max=rng.choice([3, 1000]))
        at = 0
        for n in range(120):
            at += rng.randrange(0, 9000)
            user = f"u{rng.randrange(4)}"
            jitter = rng.randrange(-70, 10) * SECOND
            partition = rng.randrange(3)
            if rng.random() < 0.6:
                s.impression(f"i{rng.randrange(60)}", user, at + jitter,
                             goods=n, partition=partition)
            else:
                s.click(rng.choice([None, f"i{rng.randrange(60)}"]), user,
                        at + jitter, goods=n, partition=partition)
        return s

    def test_order_of_partitions_does_not_show(self):
        for seed_value in range(60):
            s = self.random_stream(seed_value)
            first = s.run()
            s.logs = dict(reversed(s.logs.items()))
            again = s.run()
            self.assertEqual(first.lines, again.lines)
            self.assertEqual(list(first.model.ledger()),
                             list(again.model.ledger()))
            self.assertEqual(list(first.model.sequences()),
                             list(again.model.sequences()))


if __name__ == "__main__":
    unittest.main()
