#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A reader of the snapshot format written from schemas/snapshot.md alone.

check_snapshot.py MODEL_FOLDER...: follows the chain of versions back from what
CURRENT names to one that is complete or has a base beside it, checks the files
on the way, applies the deltas, scores every version's golden requests in
doubles and compares within 1e-5; every base beside a version that it comes by
must be its state bit for bit. Prints CURRENT's version and what it saw.
Needs numpy; file hashes are checked, and crosses scored, where the module
xxhash is there.
"""
import json
import math
import os
import struct
import sys

import numpy as np

try:
    import xxhash
except ImportError:
    xxhash = None

MASK = (1 << 64) - 1
ABSENT = MASK


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
        dtype = np.dtype({"F32": "<f4", "F16": "<f2", "I8": "i1",
                          "U32": "<u4", "U64": "<u8"}[entry["dtype"]])
        check(begin == at, f"{path}: {name} leaves a hole or overlaps")
        check(math.prod(entry["shape"]) * dtype.itemsize == end - begin,
              f"{path}: shape of {name}")
        values = np.frombuffer(data[8 + length + begin:8 + length + end],
                               dtype=dtype)
        tensors[name] = (entry["dtype"], values.reshape(entry["shape"]))
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
    """A table's rows by key, as float32 arrays, widened."""

    def __init__(self, spec):
        self.name, self.width, self.rows = spec["name"], spec["width"], {}

    def row(self, key):
        return self.rows[key if key in self.rows else 0].astype(float)

    def take(self, path, tensors, spec, names):
        check(set(tensors) == names | ({"scale"} if spec["row_dtype"] == "I8"
                                       else set()), f"{path}: tensors")
        keys = tensors["keys"][1]
        dtype, rows = tensors["rows"]
        check(dtype == spec["row_dtype"], f"{path}: row_dtype")
        check(rows.shape == (len(keys), self.width), f"{path}: rows")
        check(keys[0] == 0, f"{path}: OOV row")
        check(np.all(keys[1:] > keys[:-1]), f"{path}: order")
        rows = rows.astype(np.float32)
        if "scale" in tensors:
            check(len(tensors["scale"][1]) == len(keys), f"{path}: scale")
            rows = rows * tensors["scale"][1][:, None]
        self.rows.update(zip(keys.tolist(), rows))
        return keys.tolist()

    def load(self, path, listed, spec):
        tensors = read_tensors(path, listed)
        keys = self.take(path, tensors, spec, {"index", "keys", "rows"})
        index = tensors["index"][1].tolist()
        capacity = len(index)
        check(capacity & (capacity - 1) == 0, f"{path}: capacity")
        check(capacity >= max(16, 2 * len(keys)), f"{path}: load")
        for row, key in enumerate(keys):
            place = mix(key) % capacity
            while index[place] and keys[index[place] - 1] != key:
                place = (place + 1) % capacity
            check(index[place] == row + 1, f"{path}: key {key:016x}")
        check(len(self.rows) == spec["rows"], f"{path}: rows")

    def apply(self, path, listed, spec):
        tensors = read_tensors(path, listed)
        gone = tensors["gone"][1]
        check(np.all(gone[1:] > gone[:-1]) and 0 not in gone,
              f"{path}: order of gone")
        for key in gone.tolist():
            check(key in self.rows, f"{path}: {key:016x} went, was not there")
            del self.rows[key]
        keys = self.take(path, tensors, spec, {"keys", "rows", "gone"})
        check(not set(keys) & set(gone.tolist()), f"{path}: gone and changed")
        check(len(keys) == spec["changed"] and len(gone) == spec["gone"],
              f"{path}: counts")
        check(len(self.rows) == spec["rows"], f"{path}: rows after it")


def cross_id(behavior, candidate):
    pair = [int(behavior, 16), int(candidate, 16)]
    if any(key in (0, ABSENT) for key in pair):
        return 0
    check(xxhash, "crosses need the module xxhash")
    seed = xxhash.xxh3_64_intdigest(b"cross")
    return xxhash.xxh3_64_intdigest(struct.pack("<QQ", *pair), seed) or 1


def sigmoid(x):
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


class Field:
    """One field, a multi-hot one with all of its places."""

    def __init__(self, table, embedding):
        self.table, self.embedding, self.places = table, embedding, 1

    def row(self, ids):
        keys = [int(key, 16) for key in ids]
        keys = [key for key in keys if key != ABSENT or self.places == 1]
        rows = [self.table.row(key) for key in keys or [0]]
        return np.mean(rows, axis=0)


class Model:
    """The weights, and section 5. Rows are vectors of doubles."""

    def __init__(self, folder, manifest):
        specs = {spec["name"]: spec for spec in manifest["tables"]}
        self.config = manifest["model"]
        self.kind = self.config["kind"]
        self.tables = {name: Table(spec) for name, spec in specs.items()}
        check(manifest["kind"] == "base", f"{folder}: kind")
        self.take(folder, manifest)
        self.groups = {"profile": [], "item": [], "context": []}
        for field in manifest["fields"]:
            group = self.groups[field["group"]]
            if field.get("continues"):
                group[-1].places += 1
                continue
            table = self.tables[field["table"]]
            embedding = specs[field["table"]]["dimension"]
            check(self.kind == "lr" or table.width in
                  (embedding, embedding + 1), "width of a table")
            group.append(Field(table, embedding))
        self.used = set()

    def take(self, folder, manifest):
        """Loads a base, or applies a delta."""
        files = {file["name"]: file for file in manifest["files"]}

        def path_of(name):
            return os.path.join(folder, name), files[name]

        self.dense = {name: values.astype(float) for name, (_, values) in
                      read_tensors(*path_of("dense.safetensors")).items()}
        for spec in manifest["tables"]:
            table = self.tables[spec["name"]]
            take = table.load if manifest["kind"] == "base" else table.apply
            take(*path_of(f"table.{spec['name']}.safetensors"), spec)

    def check_same(self, other, what):
        check(all(np.array_equal(self.dense[name], other.dense[name])
                  for name in self.dense), f"{what}: dense weights differ")
        for name, table in self.tables.items():
            rows = other.tables[name].rows
            check(table.rows.keys() == rows.keys(), f"{what}: keys of {name}")
            check(all(table.rows[key].tobytes() == rows[key].tobytes()
                      for key in rows), f"{what}: rows of {name}")

    def tensor(self, name):
        self.used.add(name)
        return self.dense[name]

    def rows(self, group, ids):
        """A row for each field of the group."""
        rows, at = [], 0
        for field in self.groups[group]:
            rows.append(field.row(ids[at:at + field.places]))
            at += field.places
        check(at == len(ids), f"ids of {group}")
        return rows

    def embed(self, group, rows):
        if self.kind == "lr":
            return np.zeros(0)
        return np.concatenate(
            [row[:field.embedding]
             for field, row in zip(self.groups[group], rows)] or
            [np.zeros(0)])

    def layer(self, name, x):
        return x @ self.tensor(f"{name}.weight") + self.tensor(f"{name}.bias")

    # ---- interest ----------------------------------------------------------

    def unit(self, q, k):
        if self.config["attention"] == "outer":
            v = np.concatenate([q, np.outer(q, k).ravel(), k])
        else:
            v = np.concatenate([q, k, q - k, q * k])
        h = sigmoid(self.layer("attention.0", v))
        h = sigmoid(self.layer("attention.1", h))
        return self.layer("attention.2", h)[0]

    def attention(self, q, keys):
        score = np.dot if self.config["attention"] == "inner" else self.unit
        a = np.array([score(q, k) for k in keys])
        if self.config["attention_softmax"]:
            a = np.exp(a - a.max())
            a /= a.sum()
        return a

    def query(self, candidate):
        if self.kind == "din":
            return candidate
        if self.config["attention"] == "inner":
            return candidate @ self.tensor("query.weight")
        u = self.layer("query", candidate)
        return np.where(u > 0, u, self.tensor("query.alpha") * u)

    def recur(self, name, inputs, evolution="", weights=None):
        """States of a GRU over the inputs; `weights`: its attention."""
        bias = self.tensor(f"{name}.candidate.bias")
        h, states = np.zeros(len(bias)), []
        for t, x in enumerate(inputs):
            a = 0 if weights is None else weights[t]
            x = a * x if evolution == "aigru" else x
            gates = sigmoid(self.layer(f"{name}.gates",
                                       np.concatenate([x, h])))
            r, u = gates[:len(h)], gates[len(h):]
            c = np.tanh(self.layer(f"{name}.candidate",
                                   np.concatenate([x, r * h])))
            keep = {"augru": lambda: 1 - a * (1 - u),
                    "augru_code": lambda: (1 - a) * u,
                    "agru": lambda: 1 - a}.get(evolution, lambda: u)()
            h = keep * h + (1 - keep) * c
            states.append(h)
        return states

    def interest(self, candidate, behaviors):
        if self.kind == "din":
            size = len(candidate)
        else:
            size = len(self.tensor("gru1.candidate.bias"))
        if not behaviors:
            return np.zeros(size)
        q, keys = self.query(candidate), behaviors
        if self.kind != "din":
            keys = self.recur("gru1", behaviors)
        if self.kind == "gru_att":
            keys = self.recur("gru2", keys)
        a = self.attention(q, keys)
        if self.kind == "dien":
            return self.recur("gru2", keys, self.config["evolution"], a)[-1]
        return a @ np.array(keys)

    # ---- x, extra, the MLP -------------------------------------------------

    def first_order(self, request, history, item):
        rows = request["profile"] + item + request["context"]
        return (self.tensor("first_order.bias")[0] +
                sum(row[-1] for row in rows) +
                sum(row[-1] for rows in history for row in rows))

    def crosses(self, behaviors, ids):
        table = self.tables["cross"]
        return sum(table.row(cross_id(behavior[0], ids[0]))[0]
                   for behavior in behaviors)

    def extra(self, request, history, item, ids, x, e, s):
        if self.kind in ("lr", "deepfm"):
            extra = self.first_order(request, history, item)
            if self.kind == "deepfm":
                v = x.reshape(-1, self.groups["item"][0].embedding)
                extra += (v.sum(0) ** 2 - (v ** 2).sum(0)).sum() / 2
            return extra
        if self.kind != "wide_deep":
            return 0.0
        if self.config["wide"] == "dense":
            m = self.layer("wide", np.concatenate([e, s, e * s]))
            return m[0] - m[1]
        return (self.first_order(request, history, item) +
                self.crosses(request["history_ids"], ids))

    def activate(self, i, v):
        """(candidates, width)"""
        kind = self.config["activation"]
        if kind == "sigmoid":
            return sigmoid(v)
        if kind == "relu":
            return np.maximum(v, 0)
        alpha = self.tensor(f"mlp.{i}.alpha")
        if kind == "prelu":
            return np.where(v > 0, v, alpha * v)
        mean = self.tensor(f"mlp.{i}.mean")
        variance = self.tensor(f"mlp.{i}.variance")
        if self.config["dice_statistics"] == "batch":
            mean, variance = v.mean(0), v.var(0)
        p = sigmoid((v - mean) /
                    np.sqrt(variance + self.config["dice_epsilon"]))
        return p * v + (1 - p) * alpha * v

    def parts(self, request, history, s, behaviors, ids):
        """x and extra of one candidate."""
        item = self.rows("item", ids)
        e = self.embed("item", item)
        x = [self.embed("profile", request["profile"]), e,
             self.embed("context", request["context"]), s]
        if self.kind in ("pnn", "din", "gru_att", "dien"):
            x.append(e * s)
        if self.kind in ("din", "gru_att", "dien"):
            x.append(self.interest(e, behaviors))
        x = np.concatenate(x)
        return x, self.extra(request, history, item, ids, x, e, s)

    def score(self, golden):
        """All items of a golden request."""
        request = {"profile": self.rows("profile", golden["profile"]),
                   "context": self.rows("context", golden["context"]),
                   "history_ids": golden["history"]}
        history = [self.rows("item", ids) for ids in golden["history"]]
        behaviors = [self.embed("item", rows) for rows in history]
        width = sum(field.embedding for field in self.groups["item"])
        s = np.sum(behaviors, axis=0) if behaviors else np.zeros(width)
        if self.config["pooling"] == "mean" and behaviors:
            s = s / len(behaviors)
        parts = [self.parts(request, history, s, behaviors, ids)
                 for ids in golden["items"]]
        extra = np.array([extra for _, extra in parts])
        if self.kind == "lr":
            return sigmoid(extra)
        x = np.array([x for x, _ in parts])
        x = (self.tensor("bn.gamma") * x / math.sqrt(1.001) +
             self.tensor("bn.beta"))
        for i in range(2):
            x = self.activate(i, self.layer(f"mlp.{i}", x))
        logits = self.layer("mlp.2", x)
        return sigmoid(logits[:, 0] - logits[:, 1] + extra)

    def unused(self):
        """Tensors that no score has looked at."""
        return {name for name in self.dense if name not in self.used and
                not name.startswith("auxiliary.")}


def check_golden(model, number, golden):
    worst = 0.0
    for got, expected, bits in zip(model.score(golden), golden["scores"],
                                   golden["bits"], strict=True):
        (exact,) = struct.unpack(">f", bytes.fromhex(bits))
        check(abs(exact - expected) <= 1e-8, "scores and bits differ")
        worst = max(worst, abs(got - exact))
        check(worst <= 1e-5,
              f"golden request {number}: {got} here, {exact} in the manifest")
    return worst


def read_manifest(folder, name, expected=None):
    with open(os.path.join(folder, name, "manifest.json"), "rb") as file:
        text = file.read()
    if expected:
        check_hash(text, expected, f"{name}: manifest.json")
    manifest = json.loads(text)
    check(manifest["format"] == 3, f"{name}: format")
    check(name[1:] == f"{manifest['epoch']}-{manifest['version']}",
          f"{name}: version")
    return manifest


def beside(folder, name, expected):
    """The manifest of the base beside a version, or None."""
    if not os.path.isdir(os.path.join(folder, "b" + name[1:])):
        return None
    manifest = read_manifest(folder, "b" + name[1:])
    check(manifest["kind"] == "base" and manifest["beside"] == expected,
          f"{name}: its base is of another version")
    return manifest


def chain_of(folder, name, expected):
    """[(name, manifest hash, manifest)] from a beginning to the version."""
    chain = []
    while True:
        manifest = read_manifest(folder, name, expected)
        chain.insert(0, (name, expected, manifest))
        if manifest["kind"] == "base" or beside(folder, name, expected):
            return chain
        parent = manifest["parent"]
        name = f"v{parent['epoch']}-{parent['version']}"
        expected = parent["hash"]


def check_goldens(model, manifest):
    check(manifest["golden"], "no golden requests")
    return max(check_golden(model, i, golden)
               for i, golden in enumerate(manifest["golden"]))


def check_folder(folder):
    with open(os.path.join(folder, "CURRENT"), encoding="ascii") as file:
        line = file.read()
    check(line.endswith("\n") and line.count(" ") == 1, "CURRENT")
    name, expected = line[:-1].split(" ")
    chain = chain_of(folder, name, expected)
    begin, begin_hash, manifest = chain[0]
    where = begin
    if manifest["kind"] == "delta":
        where, manifest = "b" + begin[1:], beside(folder, begin, begin_hash)
    model = Model(os.path.join(folder, where), manifest)
    worst = check_goldens(model, manifest)
    for at, hash_, manifest in chain[1:]:
        model.take(os.path.join(folder, at), manifest)
        worst = max(worst, check_goldens(model, manifest))
    check(not model.unused(), f"tensors that no score needs: "
                              f"{sorted(model.unused())}")
    print(f"{folder}: {name}: {manifest['model']['kind']}, {where} and "
          f"{len(chain) - 1} deltas, golden requests agree within "
          f"{worst:.1e}{'' if xxhash else ' (hashes not checked)'}")
    check_besides(folder)


def check_besides(folder):
    """Each base beside a delta is what the chain before it comes to."""
    names = sorted((name for name in os.listdir(folder) if name[0] == "v"),
                   key=lambda name: int(name.split("-")[1]))
    model, seen = None, 0
    for name in names:
        manifest = read_manifest(folder, name)
        path = os.path.join(folder, name)
        if manifest["kind"] == "base":
            model = Model(path, manifest)
        elif model:
            model.take(path, manifest)
        with open(os.path.join(path, "manifest.json"), "rb") as file:
            hash_ = xxhash and xxhash.xxh3_128_hexdigest(file.read())
        base = hash_ and beside(folder, name, hash_)
        if base:
            base = Model(os.path.join(folder, "b" + name[1:]), base)
            if model:
                model.check_same(base, f"b{name[1:]}")
                seen += 1
            model = base
    if seen:
        print(f"{folder}: {seen} bases beside deltas are the same bit for bit")


def main():
    check(len(sys.argv) > 1, "usage: check_snapshot.py MODEL_FOLDER...")
    for folder in sys.argv[1:]:
        check_folder(folder)


if __name__ == "__main__":
    main()
