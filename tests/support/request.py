# SPDX-License-Identifier: Apache-2.0
"""Requests for `interestd rank`, made for whatever features a configuration
has, of items that the model has seen."""

import json


def fields(config, group):
    return [f["name"] for f in config["features"] if f["group"] == group]


def write(path, config, items, behaviors=3):
    """items: {feature: value} of the candidates; the first ones are the
    user's behaviors too."""
    asked = {
        "profile": {name: "1" for name in fields(config, "profile")},
        "behaviors": items[:behaviors], "candidates": items,
        "context": {name: "1" for name in fields(config, "context")}}
    with open(path, "w") as file:
        json.dump(asked, file)


def scores(text):
    """What `rank` printed, without its first line, which holds a time."""
    return text.splitlines()[1:]
