#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MovieLens 100k ratings -> impressions.avro and clicks.avro.

In order of time, a rating of 4 or 5 is a click with its impression one second
before and four others beside it (candidates.py); a lower rating is an
impression, one second before too, without a click. Age and year are the
numbers as they are; genres an array. The data are for research only: nothing
of them may enter the repository.
Exit status 77 where the data are absent."""

import argparse
import csv
import os
import sys

from candidates import Candidates, share_of_users
from container import Writer, encode_array, encode_long, encode_string

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "../../../shared/data/ml-100k")
SHOWN_BEFORE_MS = 1000
CLICK_RATING = 4
NULL, SOME = encode_long(0), encode_long(1)


def table(folder, suffix):
    path = os.path.join(folder, "ml-100k." + suffix)
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t",
                                  quoting=csv.QUOTE_NONE):
            yield {name.split(":")[0]: value for name, value in row.items()}


def optional(text):
    return SOME + encode_string(text) if text else NULL


def optional_number(text):
    return SOME + encode_long(int(text)) if text.isdigit() else NULL


def profile_of(row):
    """Age, gender, occupation, encoded."""
    return optional_number(row["age"]) + optional(row["gender"]) + \
        optional(row["occupation"])


def item_of(row):
    """Movie, genres, year, encoded. One movie has no known genre, and one
    no year."""
    genres = [encode_string(x) for x in row["class"].split()]
    return encode_long(int(row["item_id"])) + encode_array(genres) + \
        optional_number(row["release_year"])


def write(ratings, profile, item, impressions, clicks, seed, keep=None):
    """keep: whether a user's events are written; None: all are."""
    candidates = Candidates(seed)
    for index, rating in enumerate(ratings):
        user, rated = rating["user_id"], rating["item_id"]
        click_ms = int(rating["timestamp"]) * 1000
        clicked = float(rating["rating"]) >= CLICK_RATING
        now_ms = click_ms - SHOWN_BEFORE_MS
        page = [rated]
        if keep and not keep(user):
            page = []
        elif clicked:
            page = candidates.page(user, rated, now_ms)
        user_raw = encode_string(user)
        for place, one in enumerate(page):
            name = encode_string(f"i{index}.{place}")
            impressions.append(name + user_raw + encode_long(now_ms) +
                               item[one] + profile[user])
            if clicked and one == rated:
                clicks.append(SOME + name + user_raw + encode_long(click_ms) +
                              item[one])
        if clicked:
            candidates.add_click(user, rated, click_ms)


def schema(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("output", help="folder for the two files")
    parser.add_argument("--clicks", type=int, default=-1,
                        help="only the first N ratings")
    parser.add_argument("--users", type=float, default=100,
                        help="only this share of the users, in percent")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", default=DATA)
    arguments = parser.parse_args()
    data = arguments.data
    if not os.path.exists(os.path.join(data, "ml-100k.inter")):
        print("movielens: SKIPPED: MovieLens (shared/data/ml-100k) is not "
              "here", file=sys.stderr)
        return 77
    # The sort is stable: ratings of one second stay in file order.
    ratings = sorted(table(data, "inter"),
                     key=lambda row: int(row["timestamp"]))
    if arguments.clicks >= 0:
        ratings = ratings[:arguments.clicks]
    profile = {row["user_id"]: profile_of(row) for row in table(data, "user")}
    item = {row["item_id"]: item_of(row) for row in table(data, "item")}
    os.makedirs(arguments.output, exist_ok=True)
    with Writer(os.path.join(arguments.output, "impressions.avro"),
                schema("movielens_impression.avsc")) as impressions, \
            Writer(os.path.join(arguments.output, "clicks.avro"),
                   schema("movielens_click.avsc")) as clicks:
        write(ratings, profile, item, impressions, clicks, arguments.seed,
              share_of_users(arguments.users))
    print(f"movielens: {impressions.records} impressions, "
          f"{clicks.records} clicks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
