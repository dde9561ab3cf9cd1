#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""follow.py FOLDER: a ranker of the test, a process of its own. It follows the
model folder by inotify through the Python binding (PYTHONPATH and
INTEREST_LIBRARY say where that is), scores one request with each version that
is swapped in, and prints a JSON line for it. Ends with its standard input.

Times are of the wall clock, in ms:
  cut_ms      as the manifest says
  current_ms  CURRENT was moved: when its inode last changed, which a rename
              does; the kernel's clock for that may stand up to 4 ms behind
  served_ms   the version became the one that calls are answered from
  scored_ms   a score of it had come back"""

import json
import os
import sys
import time

import interest


def moved_ms(folder, name):
    """When CURRENT came to name the version; of a version that is no longer
    named: when its folder came, just before."""
    path = os.path.join(folder, "CURRENT")
    with open(path, encoding="ascii") as file:
        same = file.read().split()[0] == name
        found = os.fstat(file.fileno())
    if not same or not found.st_nlink:  # replaced, which changes it too
        found = os.stat(os.path.join(folder, name))
    return found.st_ctime_ns / 1e6


class Ranker:
    def __init__(self, folder):
        self.folder = folder
        self.model = self.open()
        self.scorer = self.model.scorer(64, 64)
        rows = [[0] * sum(places for _, places, _ in self.model.fields(group))
                for group in range(3)]
        self.request = interest.Request(rows[0], [rows[1]] * 8, [rows[1]] * 8,
                                        rows[2])

    def open(self):
        while True:
            try:
                return interest.Model(self.folder)
            except interest.Error as error:
                if error.status != "no_model":
                    raise
                time.sleep(0.02)

    def tell(self, _):
        scored = self.scorer.score(self.request).version
        scored_ms = time.time() * 1e3
        print(json.dumps({
            "name": scored.name, "epoch": scored.epoch,
            "version": scored.version, "position": scored.position,
            "newest_event_ms": scored.newest_event_ms,
            "cut_ms": scored.cut_ms, "served_ms": scored.served_ms,
            "current_ms": moved_ms(self.folder, scored.name),
            "scored_ms": scored_ms}), flush=True)


def main():
    ranker = Ranker(sys.argv[1])
    ranker.tell(None)
    ranker.model.follow(ranker.tell,
                        lambda error: print(error, file=sys.stderr))
    sys.stdin.read()
    print(json.dumps({"final": True, "resyncs": ranker.model.state.resyncs,
                      "errors": ranker.model.state.errors}), flush=True)
    ranker.model.close()


if __name__ == "__main__":
    main()
