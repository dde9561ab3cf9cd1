#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`interestd verify`, the real program on the mock cluster:

1. a version trained since a kept checkpoint, and a base, come out equal, bit
   for bit, beside the running daemon and without it;
2. one bit of a dense tensor that is flipped, or of a row, with all hashes made
   to agree again, is found and named;
3. a version before all kept checkpoints is no longer verifiable: exit status
   69;
4. nothing is left behind, and the state is as it was."""

import argparse
import json
import os
import shutil
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "support"))
sys.path.insert(0, os.path.join(HERE, "..", "daemon"))
import paths
from broker import Broker
from daemon import Daemon, check, merge
from paths import Steps
from shadows import Stream
import stream
import topics
import xxhash

TOPICS = "impressions:4,clicks:4,model-announcements:1"
DIFFERENT, GONE = 65, 69


def flip(folder, name, tensor):
    """One bit in the middle of a tensor; sizes and hashes agree."""
    path = os.path.join(folder, name)
    with open(path, "rb") as file:
        data = bytearray(file.read())
    size, = struct.unpack("<Q", data[:8])
    begin, end = json.loads(data[8:8 + size])[tensor]["data_offsets"]
    data[8 + size + begin + (end - begin) // 8 * 4] ^= 1
    with open(path, "wb") as file:
        file.write(data)
    path = os.path.join(folder, "manifest.json")
    with open(path) as file:
        text = file.read()
    for entry in json.loads(text)["files"]:
        if entry["name"] == name:
            text = text.replace(entry["hash"],
                                xxhash.xxh3_128_hexdigest(bytes(data)))
    with open(path, "w") as file:
        file.write(text)


class Test:
    def __init__(self, arguments, folder):
        self.interestd, self.folder = arguments.interestd, folder
        self.pages = arguments.pages
        self.events, self.seed = 0, 3
        self.temporary = os.path.join(folder, "tmp")
        os.mkdir(self.temporary)

    def run(self):
        with Broker(self.interestd, TOPICS) as broker:
            self.broker = broker
            config = merge(stream.config(), {
                "kafka.brokers": broker.brokers,
                "learner.checkpoint_seconds": 3600, "publish.delta_ms": 200,
                "publish.versions_kept": 1000})
            self.daemon = Daemon(self.interestd,
                                 os.path.join(self.folder, "d"), config)
            steps = Steps()
            try:
                steps.run("equal, beside the daemon", self.beside)
                steps.run("no longer verifiable", self.gone)
                steps.run("equal, without it", self.without)
                steps.run("a flipped bit", self.flipped)
            finally:
                self.daemon.end()

    def fill(self):
        self.seed += 1
        with topics.Client(self.broker.brokers) as client:
            self.events += Stream(self.seed, self.pages).send(client)
        if not self.daemon.process:
            self.daemon.start()
        self.daemon.wait_trained(self.events, 300)
        self.daemon.wait(
            lambda s: s["publish"]["position"] == s["learner"]["position"],
            "all is published", 60)

    def listed(self):
        done = self.daemon.call("versions", "--model",
                                self.daemon.config["model_folder"], "--json",
                                config=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def verify(self, name, status=0, *options):
        done = self.daemon.call("verify", name, "--json", *options,
                                env={**os.environ, "TMPDIR": self.temporary})
        check(done.returncode == status,
              f"{name}: exit status {done.returncode}: {done.stderr}")
        check(os.listdir(self.temporary) == [], "left behind")
        return json.loads(done.stdout) if done.stdout else done.stderr

    def beside(self):
        self.fill()
        self.fill()
        newest = self.listed()[-1]
        found = self.verify(newest["name"])
        check(newest["kind"] == "delta" and found["equal"] and
              found["position"] == newest["position"] >
              found["checkpoint"] and found["rows"] > 100, found)
        first = self.verify(self.listed()[0]["name"])
        check(first["equal"], first)

    def gone(self):
        first = self.listed()[0]
        for _ in range(2):  # each stop leaves a checkpoint; two are kept
            self.fill()
            self.daemon.stop()
            self.daemon.start()
        self.fill()
        self.daemon.stop()
        said = self.verify(first["name"], GONE)
        check("no longer verifiable" in said, said)

    def without(self):
        self.newest = self.listed()[-1]
        found = self.verify(self.newest["name"])
        check(found["equal"] and found["tensors"] > 5, found)
        done = self.daemon.call("fsck")
        check(done.returncode == 0, done.stdout + done.stderr)

    def flipped(self):
        model = self.daemon.config["model_folder"]
        with open(os.path.join(model, self.newest["name"],
                               "manifest.json")) as file:
            files = [entry["name"] for entry in json.load(file)["files"]]
        table = next(name for name in files if "goods" in name)
        for number, (name, tensor) in enumerate(
                [("dense.safetensors", None), (table, "rows")]):
            copy = os.path.join(self.folder, f"copy-{number}")
            shutil.copytree(model, copy)
            folder = os.path.join(copy, self.newest["name"])
            if not tensor:
                with open(os.path.join(folder, name), "rb") as file:
                    size, = struct.unpack("<Q", file.read(8))
                    head = json.loads(file.read(size))
                tensor = next(key for key in head if key != "__metadata__")
            flip(folder, name, tensor)
            found = self.verify(self.newest["name"], DIFFERENT, "--set",
                                f"model_folder={copy}")
            check(not found["equal"] and found["different"] == 1 and
                  found["first"] in (tensor, "goods"), found)


def test(arguments, folder):
    Test(arguments, folder).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=400)
    paths.main(test, options)
