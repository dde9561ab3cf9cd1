# SPDX-License-Identifier: Apache-2.0
"""Requests for `interestd rank`, made for whatever features a configuration
has."""

import json


def fields(config, group):
    return [f["name"] for f in config["features"] if f["group"] == group]


def make(config, candidates=5, behaviors=3):
    def item(number):
        return {name: f"{name}{number}" for name in fields(config, "item")}
    return {
        "profile": {name: "1" for name in fields(config, "profile")},
        "history": [item(n) for n in range(behaviors)],
        "candidates": [item(n) for n in range(candidates)],
        "context": {name: "1" for name in fields(config, "context")}}


def write(path, config, **sizes):
    with open(path, "w") as file:
        json.dump(make(config, **sizes), file)
