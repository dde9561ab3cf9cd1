#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The adapters' parts on small input: container files against their own
reader, candidates against the rules they promise, pages of both data sets."""

import collections
import os
import random
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import container
import globo
import movielens
from candidates import ENOUGH, HOUR_MS, OTHERS, Candidates, share_of_users

T0 = 1_506_826_800_000
SCHEMA = """{"type": "record", "name": "R", "fields": [
  {"name": "n", "type": "long"}, {"name": "s", "type": "string"},
  {"name": "o", "type": ["null", "string"]}]}"""


class Container(unittest.TestCase):
    def test_long_is_zig_zag(self):
        for value, raw in ((0, b"\0"), (-1, b"\1"), (1, b"\2"), (64, b"\x80\1"),
                           (2 ** 63 - 1, b"\xfe" + b"\xff" * 8 + b"\1"),
                           (-2 ** 63, b"\xff" * 9 + b"\1")):
            self.assertEqual(container.encode_long(value), raw)
            self.assertEqual(container.decode_long(raw, 0), (value, len(raw)))

    def test_files_of_many_blocks_read_back(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.avro")
            with container.Writer(path, SCHEMA) as writer:
                for n in range(20_000):
                    some = container.encode_long(1) + \
                        container.encode_string("ß") if n % 2 else b"\0"
                    writer.append(container.encode_long(n) +
                                  container.encode_string(f"v{n}") + some)
            self.assertEqual(writer.records, 20_000)
            self.assertEqual(list(container.read(path)), [
                {"n": n, "s": b"v%d" % n,
                 "o": "ß".encode() if n % 2 else None}
                for n in range(20_000)])
            with open(path, "r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"?")
            with self.assertRaises(container.DecodeError):
                list(container.read(path))

    def test_hostile_records_are_refused(self):
        schema = {"fields": [{"name": "s", "type": "string"},
                             {"name": "i", "type": ["null", "int"]}]}
        good = b"\x04ab\x02\x02"
        self.assertEqual(container.decode_record(schema, good),
                         {"s": b"ab", "i": 1})
        for end in range(len(good)):
            with self.assertRaises(container.DecodeError):
                container.decode_record(schema, good[:end])
        for bad in (b"\x03ab\x00", b"\x04ab\x04", good + b"\0",
                    b"\x04ab\x02\x80\x80\x80\x80\x20",
                    b"\x80" * 10 + b"\1"):
            with self.assertRaises(container.DecodeError):
                container.decode_record(schema, bad)

    def test_arrays(self):
        schema = {"fields": [{"name": "a", "type": {
            "type": "array", "items": "string"}}]}
        for value in ([], [b"x"], [b"x", b"", b"yz"]):
            raw = container.encode_record(
                schema, {"a": [x.decode() for x in value]})
            self.assertEqual(container.decode_record(schema, raw),
                             {"a": value})
        self.assertEqual(container.encode_array([b"\2x"]), b"\2\2x\0")
        # A block with its size, and one that lies about it.
        self.assertEqual(container.decode_record(
            schema, b"\3\x08\2x\2y\0"), {"a": [b"x", b"y"]})
        for bad in (b"\3\6\2x\0", b"\2\2x", b"\2", b"\x80\x80\x80\1"):
            with self.assertRaises(container.DecodeError):
                container.decode_record(schema, bad)


class CandidateRules(unittest.TestCase):
    def naive(self, clicks, now_ms):
        """The items that may be drawn, one a click."""
        known = [c for c in clicks if c[0] < now_ms]
        hour = [c[2] for c in known if c[0] >= now_ms - HOUR_MS]
        return hour if len(set(hour)) >= ENOUGH else \
            [c[2] for c in known[-1000:]]

    def test_against_the_rules(self):
        rng = random.Random(5)
        candidates, clicks, at = Candidates(), [], 0
        for _ in range(4000):
            # Bursts and nights: both the hour and the last 1,000 decide.
            at += rng.choice([0, 10, 2000, 2000, 400_000])
            user, item = rng.randrange(30), rng.randrange(200)
            page = candidates.page(user, item, at - 1000)
            self.assertEqual(page.count(item), 1)
            page.remove(item)
            allowed = set(self.naive(clicks, at - 1000)) - {item} - {
                c[2] for c in clicks if c[1] == user}
            self.assertEqual(len(set(page)), len(page))
            self.assertLessEqual(set(page), allowed)
            self.assertEqual(len(page), min(OTHERS, len(allowed)))
            candidates.add_click(user, item, at)
            clicks.append((at, user, item))

    def test_drawn_in_proportion_to_clicks(self):
        candidates, drawn = Candidates(), collections.Counter()
        for n in range(30 * 31 // 2):  # item i has i clicks, i from 1 to 30
            item = next(i for i in range(31) if n < i * (i + 1) // 2)
            candidates.add_click(0, item, T0 + n)
        clicks = 465
        for n in range(3000):
            page = candidates.page(n + 1, 99, T0 + 60_000)
            drawn.update(x for x in page if x != 99)
            # Beyond the hour, so that the proportions stay.
            candidates.add_click(n + 1, 98, T0 + 2 * HOUR_MS)
        # Four different ones of a page: a little flatter than the clicks.
        for item in (5, 15, 30):
            expected = 12_000 * item / clicks
            self.assertAlmostEqual(drawn[item] / expected, 1, delta=0.25)

    def test_the_clicked_item_stands_anywhere(self):
        candidates, places = Candidates(), collections.Counter()
        for n in range(2000):
            page = candidates.page(n, n % 50, T0 + n * 1000)
            places[page.index(n % 50)] += len(page) == 5
            candidates.add_click(n, n % 50, T0 + n * 1000)
        self.assertEqual(set(places), set(range(5)))
        self.assertGreater(min(places.values()), 300)

    def test_equal_seeds_draw_equal_pages(self):
        def pages(seed, every=1):
            candidates, out = Candidates(seed), []
            for n in range(300):
                if n % every == 0:
                    out.append(candidates.page(n, n % 50, T0 + n * 1000))
                candidates.add_click(n, n % 50, T0 + n * 1000)
            return out
        self.assertEqual(pages(3), pages(3))
        self.assertNotEqual(pages(3), pages(4))
        # A page that is not asked for changes no other.
        self.assertEqual(pages(3)[::7], pages(3, 7))

    def test_share_of_users(self):
        self.assertIsNone(share_of_users(100))
        users = [str(n) for n in range(20_000)]
        tenth, half = share_of_users(10), share_of_users(50)
        kept = {x for x in users if tenth(x)}
        self.assertTrue(1800 < len(kept) < 2200)
        self.assertTrue(all(half(x) for x in kept))
        self.assertFalse(any(share_of_users(0)(x) for x in users))


class Pages(unittest.TestCase):
    def check(self, impressions, clicks):
        shown = {}
        for raw in impressions:
            shown[raw["impression_id"]] = raw
        self.assertEqual(len(shown), len(impressions))
        for click in clicks:
            seen = shown[click["impression_id"]]
            self.assertEqual(seen["event_ms"], click["event_ms"] - 1000)
            self.assertEqual(seen["user_id"], click["user_id"])

    def run_writers(self, names, write):
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, x) for x in ("i.avro", "c.avro")]
            with container.Writer(paths[0], globo.schema(names[0])) as i, \
                    container.Writer(paths[1], globo.schema(names[1])) as c:
                write(i, c)
            return [list(container.read(path)) for path in paths]

    def test_globo(self):
        source = [(T0 + n * 500, str(n % 7), n % 40, n % 3, ["1"] * 6)
                  for n in range(500)]

        def write(keep=None):
            return self.run_writers(
                ("globo_impression.avsc", "globo_click.avsc"),
                lambda i, c: globo.write(source, i, c, 1, keep))
        impressions, clicks = write()
        self.assertEqual(len(clicks), 500)
        self.assertEqual([x["event_ms"] for x in clicks],
                         [x[0] for x in source])
        self.assertEqual([x["article"] for x in clicks],
                         [x[2] for x in source])
        self.check(impressions, clicks)
        self.assertTrue(500 < len(impressions) <= 2500)
        # One user alone: the same events as among all.
        self.assertEqual(write(lambda user: user == "3"), [
            [x for x in part if x["user_id"] == b"3"]
            for part in (impressions, clicks)])

    def test_movielens(self):
        ratings = [{"user_id": str(n % 9), "item_id": str(n % 30 + 1),
                    "rating": str(n % 5 + 1), "timestamp": str(T0 // 1000 + n)}
                   for n in range(400)]
        item = {str(n): movielens.item_of({
            "item_id": str(n), "class": "Drama War" if n % 2 else "",
            "release_year": "V" if n == 7 else "1990"}) for n in range(1, 31)}
        profile = {str(n): movielens.profile_of(
            {"age": "24", "gender": "F", "occupation": ""}) for n in range(9)}
        impressions, clicks = self.run_writers(
            ("movielens_impression.avsc", "movielens_click.avsc"),
            lambda i, c: movielens.write(ratings, profile, item, i, c, 1))
        self.assertEqual(len(clicks), 160)
        self.check(impressions, clicks)
        for shown in impressions:
            self.assertEqual(
                (shown["age"], shown["gender"], shown["occupation"]),
                (24, b"F", None))
            self.assertEqual(shown["genres"],
                             [b"Drama", b"War"] if shown["item"] % 2 else [])
            self.assertEqual(shown["year"],
                             None if shown["item"] == 7 else 1990)


if __name__ == "__main__":
    unittest.main()
