#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Globo.com news clicks -> impressions.avro and clicks.avro.

Each click becomes a page of five impressions one second before it, the
clicked article and four others (candidates.py), and the click that names its
impression. With a share of the users, those of the others are left out; what
they clicked still decides what is shown, and a page is the same. The stream ends with 16 October 2017 (UTC), where the data set's
own trickles out. Both files are in order of event time. The data are for
research only: nothing of them may enter the repository.
Exit status 77 where the data are absent."""

import argparse
import functools
import os
import subprocess
import sys

from candidates import Candidates, share_of_users
from container import Writer, encode_long, encode_string

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "../../../shared/data/globo/clicks.tsv.zst")
END_MS = 1_508_198_400_000  # 17 October 2017 00:00 UTC
SHOWN_BEFORE_MS = 1000

number = functools.lru_cache(maxsize=1 << 17)(encode_long)
# Branch 1 of ["null", "string"].
SOME = encode_long(1)


def rows(path, limit):
    """(click_ms, user, article, category, context columns) in file order,
    which is the order of time."""
    with subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE,
                          text=True) as process:
        next(process.stdout)
        for index, line in enumerate(process.stdout):
            f = line.rstrip("\n").split("\t")
            if index == limit or int(f[0]) >= END_MS:
                process.terminate()
                break
            yield int(f[0]), f[1], int(f[3]), int(f[4]), f[6:12]


def write(source, impressions, clicks, seed, keep=None):
    """keep: whether a user's events are written; None: all are."""
    candidates = Candidates(seed)
    category_of = {}
    for index, (click_ms, user, article, category, context) in \
            enumerate(source):
        category_of[article] = category
        if keep and not keep(user):
            candidates.add_click(user, article, click_ms)
            continue
        now_ms = click_ms - SHOWN_BEFORE_MS
        user_raw = encode_string(user)
        head = user_raw + number(now_ms)
        tail = b"".join(number(int(value)) for value in context)
        for place, item in enumerate(candidates.page(user, article, now_ms)):
            name = encode_string(f"i{index}.{place}")
            impressions.append(b"".join((
                name, head, number(item), number(category_of[item]), tail)))
            if item == article:
                clicks.append(b"".join((
                    SOME, name, user_raw, number(click_ms), number(item),
                    number(category))))
        candidates.add_click(user, article, click_ms)


def schema(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("output", help="folder for the two files")
    parser.add_argument("--clicks", type=int, default=-1,
                        help="only the first N clicks")
    parser.add_argument("--users", type=float, default=100,
                        help="only this share of the users, in percent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", default=DATA)
    arguments = parser.parse_args()
    if not os.path.exists(arguments.data):
        print("globo: SKIPPED: the Globo clicks (shared/data/globo) are not "
              "here", file=sys.stderr)
        return 77
    os.makedirs(arguments.output, exist_ok=True)
    with Writer(os.path.join(arguments.output, "impressions.avro"),
                schema("globo_impression.avsc")) as impressions, \
            Writer(os.path.join(arguments.output, "clicks.avro"),
                   schema("globo_click.avsc")) as clicks:
        write(rows(arguments.data, arguments.clicks), impressions, clicks,
              arguments.seed, share_of_users(arguments.users))
    print(f"globo: {impressions.records} impressions, {clicks.records} clicks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
