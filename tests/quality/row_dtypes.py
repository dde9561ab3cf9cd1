#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What rows cost in accuracy and bytes when they are published as float16 or
int8 (publish.row_dtype) instead of float32.

The first part of a real stream is trained by the daemon; then the same weights,
of one journal position, are published three times, a model folder for each
type of rows. The rest of the stream goes through the same daemon, which labels
it and cuts its histories; each of these samples, none of which any of the three
versions has learned from, is scored by libinterest with each of them.
  row_dtypes.py --data globo --rows 100000 build/release/daemon/interestd
  row_dtypes.py --data movielens build/release/daemon/interestd
The last line is one JSON object. Exit status 77 where the data are absent."""

import argparse
import contextlib
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from container import Writer
from daemon import Daemon, check, load_config, merge
from kafka import Unavailable
from paths import Steps, say
import globo
import metrics
import movielens
import numpy as np

ROOT = os.path.normpath(os.path.join(paths.TESTS, ".."))
TOPICS = "impressions:2,clicks:2,model-announcements:1"
DTYPES = ("F32", "F16", "I8")
ABSENT = (1 << 64) - 1
# How much worse than float32 the area under the curve may be.
WORST = {"F16": 0.001, "I8": 0.005}


class Parts:
    """A file of records in two parts; `now` is the one that grows."""

    def __init__(self, stack, folder, name, schema):
        self.paths = [os.path.join(folder, f"{name}{part}.avro")
                      for part in range(2)]
        self.writers = [stack.enter_context(Writer(path, schema))
                        for path in self.paths]
        self.now = 0

    def append(self, record):
        self.writers[self.now].append(record)


def read_source(name, rows):
    """(rows, further arguments of the adapter's write())"""
    if name == "globo":
        if not os.path.exists(globo.DATA):
            raise Unavailable("the Globo clicks (shared/data/globo) are not "
                              "here")
        return list(globo.rows(globo.DATA, rows)), ()
    if not os.path.exists(os.path.join(movielens.DATA, "ml-100k.inter")):
        raise Unavailable("MovieLens (shared/data/ml-100k) is not here")
    tables = {name: list(movielens.table(movielens.DATA, name))
              for name in ("inter", "user", "item")}
    ratings = sorted(tables["inter"], key=lambda row: int(row["timestamp"]))
    return ratings[:rows if rows > 0 else None], (
        {row["user_id"]: movielens.profile_of(row) for row in tables["user"]},
        {row["item_id"]: movielens.item_of(row) for row in tables["item"]})


class Test:
    def __init__(self, arguments, folder, broker):
        self.arguments, self.folder = arguments, folder
        build = os.path.dirname(os.path.dirname(arguments.interestd))
        os.environ["INTEREST_LIBRARY"] = os.path.join(
            build, "snapshot", "libinterest.so.0")
        sys.path.insert(0, os.path.join(ROOT, "snapshot", "python"))
        import interest
        self.interest = interest
        self.config = merge(load_config(os.path.join(
            paths.TESTS, "adapters", arguments.data + ".yaml")), {
                "kafka.brokers": broker.brokers, "learner.flush_ms": 0,
                "ingest.journal_keep": True, "publish.gate_auc_drop": 1})
        self.events = 0

    def run(self):
        steps = Steps()
        steps.run("adapter", self.adapt)
        steps.run("first part: learned", self.learn)
        for dtype in DTYPES[1:]:
            steps.run(f"published as {dtype}", self.publish, dtype)
        steps.run("second part: labelled", self.label)
        return steps.run("scored", self.score)

    def adapt(self):
        rows, more = read_source(self.arguments.data, self.arguments.rows)
        border = int(len(rows) * (1 - self.arguments.held_out))
        adapter = {"globo": globo, "movielens": movielens}[self.arguments.data]
        with contextlib.ExitStack() as stack:
            self.parts = [
                Parts(stack, self.folder, topic,
                      adapter.schema(f"{self.arguments.data}_{topic}.avsc"))
                for topic in ("impression", "click")]

            def in_parts():
                for index, row in enumerate(rows):
                    for part in self.parts:
                        part.now = index >= border
                    yield row
            adapter.write(in_parts(), *more, *self.parts, 1)
        self.counts = [sum(part.writers[k].records for part in self.parts)
                       for k in range(2)]
        say(f"  {self.counts[0]} and {self.counts[1]} events")

    def daemon(self, dtype, delta_ms, name=None):
        return Daemon(self.arguments.interestd,
                      os.path.join(self.folder, "daemon"), self.config, **{
                          "model_folder": self.model_folder(name or dtype),
                          "publish.row_dtype": dtype,
                          "publish.delta_ms": delta_ms})

    def model_folder(self, dtype):
        return os.path.join(self.folder, "model-" + dtype)

    def send(self, daemon, part):
        sent = daemon.call("replay", "--impressions", self.parts[0].paths[part],
                           "--clicks", self.parts[1].paths[part], "--speed",
                           "max")
        check(sent.returncode == 0, f"replay: {sent.stderr}")
        self.events += self.counts[part]
        return daemon.wait_trained(self.events, 1200)

    def learn(self):
        """Publishes the float32 version when it stops."""
        daemon = self.daemon("F32", 0)
        try:
            daemon.start()
            daemon.wait(lambda status: True, "an answer", 60)
            self.position = self.send(daemon, 0)["learner"]["position"]
            daemon.stop()
        finally:
            daemon.end()
        say(f"  {self.position} samples")

    def publish(self, dtype):
        daemon = self.daemon(dtype, 100)
        try:
            daemon.start()
            status = daemon.wait(lambda s: s["publish"]["version"] > 0,
                                 "a version", 120)
            check(status["publish"]["position"] == self.position,
                  f"published at {status['publish']['position']}, not "
                  f"{self.position}")
            daemon.stop()
        finally:
            daemon.end()

    def label(self):
        daemon = self.daemon("F32", 0, "later")
        try:
            daemon.start()
            daemon.wait(lambda status: True, "an answer", 60)
            self.send(daemon, 1)
            daemon.stop()
        finally:
            daemon.end()
        self.samples = os.path.join(self.folder, "samples")
        daemon.inspect_to("samples", self.samples)

    def requests(self, model):
        """(label, Request) of each held-out sample."""
        groups = [sum(places for _, places, _ in model.fields(group))
                  for group in range(3)]
        first, behind = groups[0], groups[0] + groups[1]

        def ids(texts):
            return [ABSENT if x is None else int(x, 16) for x in texts]
        with open(self.samples) as file:
            for line in file:
                sample = json.loads(line)
                if sample.get("position", -1) < self.position:
                    continue
                own = ids(sample["ids"])
                yield sample["label"], self.interest.Request(
                    own[:first], [ids(x) for x in sample["history"]],
                    [own[first:behind]], own[behind:])

    def score(self):
        told, reference = {}, None
        with contextlib.ExitStack() as stack:
            models = {}
            for dtype in DTYPES:
                model = stack.enter_context(
                    self.interest.Model(self.model_folder(dtype)))
                check(model.version.position == self.position,
                      f"{dtype}: position {model.version.position}")
                models[dtype] = model.scorer()
            scored = {dtype: [] for dtype in DTYPES}
            for label, request in self.requests(model):
                for dtype, scorer in models.items():
                    scored[dtype].append(
                        (label, scorer.score(request).probability[0]))
        for dtype in DTYPES:
            pairs = np.array(scored[dtype])
            reference = pairs if reference is None else reference
            told[dtype] = {
                "auc": round(metrics.auc(pairs[:, 0], pairs[:, 1]), 6),
                "log_loss": round(metrics.log_loss(pairs[:, 0], pairs[:, 1]),
                                  6),
                "largest_difference": float(
                    np.abs(pairs[:, 1] - reference[:, 1]).max()),
                **self.sizes(dtype)}
            told[dtype]["auc_lost"] = round(
                told["F32"]["auc"] - told[dtype]["auc"], 6)
        return len(reference), told

    def sizes(self, dtype):
        folder = self.model_folder(dtype)
        with open(os.path.join(folder, "CURRENT")) as file:
            version = os.path.join(folder, file.read().split()[0])
        with open(os.path.join(version, "manifest.json")) as file:
            manifest = json.load(file)
        check(all(table["row_dtype"] == dtype for table in manifest["tables"]),
              f"{version} has other rows than {dtype}")
        return {"rows": sum(table["rows"] for table in manifest["tables"]),
                "table_bytes": sum(one["size"] for one in manifest["files"]
                                   if one["name"].startswith("table.")),
                "bytes": sum(one["size"] for one in manifest["files"])}


def test(arguments, folder):
    with Broker(arguments.interestd, TOPICS) as broker:
        held_out, told = Test(arguments, folder, broker).run()
    say(f"{'':4} {'AUC':>9} {'lost':>9} {'log loss':>9} {'max |dp|':>9} "
        f"{'tables':>12} {'all files':>12}")
    for dtype, one in told.items():
        say(f"{dtype:4} {one['auc']:9.6f} {one['auc_lost']:9.6f} "
            f"{one['log_loss']:9.6f} {one['largest_difference']:9.2g} "
            f"{one['table_bytes']:12} {one['bytes']:12}")
    for dtype, most in WORST.items():
        check(told[dtype]["auc_lost"] <= most, f"{dtype} costs too much AUC")
    check(told["I8"]["bytes"] < told["F16"]["bytes"] < told["F32"]["bytes"],
          "smaller types of rows make no smaller files")
    print(json.dumps({"data": arguments.data, "held_out": held_out, **told}))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--data", choices=("globo", "movielens"),
                         default="movielens")
    options.add_argument("--rows", type=int, default=-1,
                         help="only the first N clicks or ratings")
    options.add_argument("--held-out", type=float, default=0.1,
                         help="share of them that is not learned from")
    paths.main(test, options)
