#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A reader of the snapshot format written from schemas/snapshot.md alone.

check_snapshot.py MODEL_FOLDER: reads the version that CURRENT names, checks
its files, scores its golden requests in plain Python (doubles) and compares
within 1e-5. Needs the standard library only; file hashes are checked where
the module xxhash is there.
"""
import json
import math
import os
import struct
import sys
from array import array

try:
    import xxhash
except ImportError:
    xxhash = None

MASK = (1 << 64) - 1


def check(condition, text):
    if not condition:
        sys.exit(f"check_snapshot: {text}")


def check_hash(data, expected, name):
    if xxhash:
        check(xxhash.xxh3_128_hexdigest(data) == expected, f"{name}: hash")


def read_tensors(path, listed):
    with open(path, "rb") as file:
        data = file.read()
    check(len(data) == listed["size"], f"{path}: size")
    check_hash(data, listed["hash"], path)
    (length,) = struct.unpack_from("<Q", data)
    check((8 + length) % 64 == 0, f"{path}: data are not aligned")
    header = json.loads(data[8:8 + length])
    tensors, at = {}, 0
    order = sorted(header, key=lambda name: header[name]["data_offsets"])
    for name in order:
        entry = header[name]
        begin, end = entry["data_offsets"]
        code = {"F32": "f", "U32": "I", "U64": "Q"}[entry["dtype"]]
        values = array(code)
        check(begin == at, f"{path}: {name} leaves a hole or overlaps")
        check(math.prod(entry["shape"]) * values.itemsize == end - begin,
              f"{path}: shape of {name}")
        values.frombytes(data[8 + length + begin:8 + length + end])
        tensors[name] = (entry["shape"], values)
        at = end
    check(8 + length + at == len(data), f"{path}: bytes at the end")
    return tensors


def mix(x):
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


class Table:
    def __init__(self, path, listed, spec):
        tensors = read_tensors(path, listed)
        (self.capacity,), self.index = tensors["index"]
        (rows,), self.keys = tensors["keys"]
        shape, self.values = tensors["rows"]
        self.dimension = spec["dimension"]
        check(set(tensors) == {"index", "keys", "rows"}, f"{path}: tensors")
        check(shape == [rows, self.dimension] and rows == spec["rows"],
              f"{path}: rows")
        check(self.capacity & (self.capacity - 1) == 0, f"{path}: capacity")
        check(self.capacity >= max(16, 2 * rows), f"{path}: load")
        check(self.keys[0] == 0, f"{path}: OOV row")
        for row, key in enumerate(self.keys):
            check(self.find(key) == row, f"{path}: key {key:016x}")
            check(row == 0 or key > self.keys[row - 1], f"{path}: order")

    def find(self, key):
        place = mix(key) % self.capacity
        while self.index[place]:
            row = self.index[place] - 1
            if self.keys[row] == key:
                return row
            place = (place + 1) % self.capacity
        return 0

    def embed(self, key):
        begin = self.find(key) * self.dimension
        return list(self.values[begin:begin + self.dimension])


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


class Model:
    def __init__(self, folder, manifest):
        files = {file["name"]: file for file in manifest["files"]}
        specs = {spec["name"]: spec for spec in manifest["tables"]}

        def path_of(name):
            return os.path.join(folder, name), files[name]

        self.config = manifest["model"]
        self.dense = read_tensors(*path_of("dense.safetensors"))
        self.tables = {
            name: Table(*path_of(f"table.{name}.safetensors"), spec)
            for name, spec in specs.items()}
        self.groups = {"profile": [], "item": [], "context": []}
        for field in manifest["fields"]:
            self.groups[field["group"]].append(self.tables[field["table"]])

    def embed(self, group, ids):
        tables = self.groups[group]
        check(len(ids) == len(tables), f"ids of {group}")
        return [value for table, key in zip(tables, ids)
                for value in table.embed(int(key, 16))]

    def layer(self, name, x):
        (inputs, outputs), weight = self.dense[f"{name}.weight"]
        y = list(self.dense[f"{name}.bias"][1])
        check(inputs == len(x) and outputs == len(y), f"shape of {name}")
        for i, value in enumerate(x):
            row = i * outputs
            for j in range(outputs):
                y[j] += value * weight[row + j]
        return y

    def activate(self, name, x):
        alpha = self.dense[f"{name}.alpha"][1]
        if self.config["activation"] == "prelu":
            return [v if v > 0 else a * v for v, a in zip(x, alpha)]
        mean = self.dense[f"{name}.mean"][1]
        variance = self.dense[f"{name}.variance"][1]
        out = []
        for v, a, m, s in zip(x, alpha, mean, variance):
            p = sigmoid((v - m) / math.sqrt(s + 1e-8))
            out.append(p * v + (1 - p) * a * v)
        return out

    def attention(self, candidate, behavior):
        v = (candidate + behavior +
             [a - b for a, b in zip(candidate, behavior)] +
             [a * b for a, b in zip(candidate, behavior)])
        h = [sigmoid(value) for value in self.layer("attention.0", v)]
        h = [sigmoid(value) for value in self.layer("attention.1", h)]
        return self.layer("attention.2", h)[0]

    def score(self, profile, context, behaviors, candidate):
        weights = [self.attention(candidate, k) for k in behaviors]
        if self.config["attention_softmax"] and weights:
            top = max(weights)
            powers = [math.exp(a - top) for a in weights]
            weights = [power / sum(powers) for power in powers]
        size = range(len(candidate))
        total = [sum(k[i] for k in behaviors) for i in size]
        pooled = [sum(a * k[i] for a, k in zip(weights, behaviors))
                  for i in size]
        x = (profile + candidate + context + total +
             [a * b for a, b in zip(candidate, total)] + pooled)
        gamma, beta = self.dense["bn.gamma"][1], self.dense["bn.beta"][1]
        x = [g * v / math.sqrt(1.001) + b for g, v, b in zip(gamma, x, beta)]
        for i in range(2):
            x = self.activate(f"mlp.{i}", self.layer(f"mlp.{i}", x))
        yes, no = self.layer("mlp.2", x)
        return sigmoid(yes - no)


def check_golden(model, number, golden):
    profile = model.embed("profile", golden["profile"])
    context = model.embed("context", golden["context"])
    behaviors = [model.embed("item", ids) for ids in golden["history"]]
    worst = 0.0
    for ids, expected, bits in zip(golden["items"], golden["scores"],
                                   golden["bits"], strict=True):
        (exact,) = struct.unpack(">f", bytes.fromhex(bits))
        check(abs(exact - expected) <= 1e-8, "scores and bits differ")
        got = model.score(profile, context, behaviors,
                          model.embed("item", ids))
        worst = max(worst, abs(got - exact))
        check(worst <= 1e-5,
              f"golden request {number}: {got} here, {exact} in the manifest")
    return worst


def main():
    check(len(sys.argv) == 2, "usage: check_snapshot.py MODEL_FOLDER")
    folder = sys.argv[1]
    with open(os.path.join(folder, "CURRENT"), encoding="ascii") as file:
        line = file.read()
    check(line.endswith("\n") and line.count(" ") == 1, "CURRENT")
    name, expected = line[:-1].split(" ")
    with open(os.path.join(folder, name, "manifest.json"), "rb") as file:
        text = file.read()
    check_hash(text, expected, "manifest.json")
    manifest = json.loads(text)
    check(manifest["format"] == 2 and manifest["kind"] == "base", "format")
    check(name == f"v{manifest['epoch']}-{manifest['version']}", "version")
    model = Model(os.path.join(folder, name), manifest)
    check(manifest["golden"], "no golden requests")
    worst = max(check_golden(model, i, golden)
                for i, golden in enumerate(manifest["golden"]))
    print(f"{name}: {len(manifest['golden'])} golden requests agree within "
          f"{worst:.1e}{'' if xxhash else ' (hashes not checked)'}")


if __name__ == "__main__":
    main()
