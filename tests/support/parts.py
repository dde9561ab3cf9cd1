# SPDX-License-Identifier: Apache-2.0
"""The state model for a daemon that read its topics in parts: with stops,
ranges that were given up, other logs. Each part is what was applied between
two looks at the daemon, with the decisions recorded meanwhile."""

import json
import os

import paths  # noqa: F401  (finds the model)
from daemon import check, compare, dump
import events
import state_model


def keys(partitions):
    """(topic, partition) of both topics."""
    return [(topic, number) for topic in (0, 1)
            for number in range(partitions)]


def place(decision):
    """Key of the record behind which it came; without one it came before the
    first of its times."""
    if "behind" not in decision:
        return decision["apply_ms"], decision["own_ms"]
    topic, rest = decision["behind"].split("/")
    partition, offset = rest.split("@")
    return (decision["apply_ms"], decision["own_ms"],
            events.TOPICS.index(topic), int(partition), int(offset))


class Model:
    def __init__(self, config, output, known):
        self.config, self.output = config, output
        self.clocks, self.lines = {}, []
        self.model = state_model.Model(config, self.lines.append)
        for key in known:
            self.start(key)

    def start(self, key):
        """A partition that is read from its first offset on."""
        self.clocks[key] = [0, 0]
        self.model.start(*key, 0)

    def part(self, logs, decisions):
        """Applies the logs; decisions: those recorded meanwhile."""
        floors, stops = {}, []
        for one in decisions:
            key = events.TOPICS.index(one["topic"]), one["partition"]
            if one["kind"] == "floored":
                floors.setdefault(key, {})[one["offset"]] = one["apply_ms"]
            elif one["kind"] in ("stopped", "revoked") and key[0] == 0:
                stops.append((place(one), key[1]))
        for event in events.merged(self.config, "/", logs, floors,
                                   self.clocks):
            while stops and event[:5] > stops[0][0]:
                self.model.stop(stops.pop(0)[1])
            self.model.apply(event)
        for _, number in stops:
            self.model.stop(number)

    def write(self):
        os.makedirs(self.output, exist_ok=True)
        for name, lines in (("ledger", self.model.ledger()),
                            ("sequences", self.model.sequences()),
                            ("samples", self.lines)):
            with open(os.path.join(self.output, name), "w") as file:
                file.writelines(line + "\n" for line in lines)


class Follower:
    """A daemon beside its model; nothing is ever lost in its logs."""

    def __init__(self, daemon, folder, partitions):
        self.daemon, self.folder = daemon, folder
        self.model = Model(daemon.config, os.path.join(folder, "model"),
                           keys(partitions))
        self.read = dict.fromkeys(keys(partitions), 0)
        self.decided = self.applied = 0

    def decisions(self):
        """Those recorded since the last look."""
        lines = self.daemon.inspect("decisions")
        fresh = [json.loads(line) for line in lines[self.decided:]]
        self.decided = len(lines)
        return fresh

    def catch_up(self, logs, timeout=90):
        """Until all of the logs is applied; everything compared."""
        part = {key: [x for x in log if x[0] >= self.read[key]]
                for key, log in logs.items()}
        self.applied += sum(map(len, part.values()))
        for key, log in part.items():
            if log:
                self.read[key] = log[-1][0] + 1
        status = self.daemon.wait(
            lambda s: s["ingest"]["at_end"]
            and s["ingest"]["events"] == self.applied,
            f"{self.applied} events", timeout)
        sound(status)
        self.model.part(part, self.decisions())
        self.model.write()
        out = os.path.join(self.folder, "out")
        dump(self.daemon, out)
        compare("model and daemon", self.model.output, out)
        return status


def sound(status):
    check(not any(x["stopped"] for x in status["ingest"]["partitions"]),
          "a partition has stopped")
    check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
    check(status["ingest"]["buckets"].get("lost", 0) == 0, "losses")
