#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same ranker as ranker.c, in Python.

    ranker.py FOLDER HISTORY CANDIDATES
    ranker.py ./model "shoe7,sport;hat3,sport" "shoe8,sport;pan1,kitchen"
"""
import sys

import interest


def parse(model, text):
    names = [name for name, _, _ in model.fields(interest.ITEM)]
    return [dict(zip(names, (value or None for value in item.split(","))))
            for item in text.rstrip(";").split(";")]


def main():
    if len(sys.argv) != 4:
        sys.exit("usage: ranker.py FOLDER HISTORY CANDIDATES")
    try:
        with interest.Model(sys.argv[1]) as model:
            request = model.request(parse(model, sys.argv[3]),
                                    parse(model, sys.argv[2]))
            answer = model.scorer().score(request)
    except interest.Error as error:
        sys.exit(f"ranker: {error}")
    for i, probability in enumerate(answer.probability):
        print(f"{answer.version.name} candidate {i}: {probability:.6f}")


if __name__ == "__main__":
    main()
