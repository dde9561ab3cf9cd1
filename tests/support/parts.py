# SPDX-License-Identifier: Apache-2.0
"""The state model for a daemon that read its topics in parts: with stops,
ranges that were given up, other logs. Each part is what was applied between
two looks at the daemon, with the decisions recorded meanwhile."""

import os

import paths  # noqa: F401  (finds the model)
import events
import state_model


def keys(partitions):
    """(topic, partition) of both topics."""
    return [(topic, number) for topic in (0, 1)
            for number in range(partitions)]


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
            elif one["kind"] == "stopped" and key[0] == 0:
                stops.append((one["apply_ms"], one["own_ms"], key[1]))
        for event in events.merged(self.config, "/", logs, floors,
                                   self.clocks):
            while stops and event[:2] > stops[0][:2]:
                self.model.stop(stops.pop(0)[2])
            self.model.apply(event)
        for *_, number in stops:
            self.model.stop(number)

    def write(self):
        os.makedirs(self.output, exist_ok=True)
        for name, lines in (("ledger", self.model.ledger()),
                            ("sequences", self.model.sequences()),
                            ("samples", self.lines)):
            with open(os.path.join(self.output, name), "w") as file:
                file.writelines(line + "\n" for line in lines)
