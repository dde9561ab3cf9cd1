#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Is model.py right? Compares it with the values of the authors' own code
(a folder of safetensors, see README.md) and prints the largest difference of
output, attention, losses and gradients of each model, relative to the
tensor's maximum. Gradients are stored in float32: 6e-8 is exact.

    /usr/bin/python3 tests/golden/check_authors.py FOLDER
"""
import json
import os
import struct
import sys

import torch

from make_models import differentiate, profile
from model import Forward, Shape, tensor_shapes

# Ours to theirs, with # for the number of a layer counted from 1; the first
# that a file has is meant.
NAMES = [
    ("bn.", ["bn1/"]), ("query.alpha", ["prelu_"]), ("query.", ["f11_1/"]),
    ("attention.#.", ["f#_attnull/", "f#_att1_1/"]),
    ("gru1.gates.", ["gru1/gru_cell/gates/"]),
    ("gru1.candidate.", ["gru1/gru_cell/candidate/"]),
    ("gru2.gates.", ["gru2/gates/", "gru2/gru_cell/gates/"]),
    ("gru2.candidate.", ["gru2/candidate/", "gru2/gru_cell/candidate/"]),
    ("auxiliary.bn.", ["bn1gru/"]), ("auxiliary.#.", ["f#gru/"]),
    ("mlp.#.alpha", ["dice_#/alphadice_#", "prelu#/prelu_prelu#",
                     "p#/prelu_p#"]),
    ("mlp.#.", ["f#/"]), ("wide.", ["f_fm/"]),
]
MODELS = {
    "din": ("din", {}), "dien": ("dien", {}),
    "augru_no_aux": ("dien", {"auxiliary": "none"}),
    "agru": ("dien", {"evolution": "agru", "auxiliary": "none"}),
    "aigru": ("dien", {"evolution": "aigru", "auxiliary": "none"}),
    "gru_att": ("gru_att", {}), "dnn": ("base", {}), "pnn": ("pnn", {}),
    "wide_deep": ("wide_deep", {"probability_epsilon": 0.0}),
}
KINDS = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64}


def read(path):
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(size)), file.read()
    out = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        out[name] = torch.frombuffer(
            bytearray(data[begin:end]) or bytearray(8),
            dtype=KINDS.get(entry["dtype"], torch.int32))
        out[name] = out[name].reshape(entry["shape"])
    return out


def theirs(file, ours):
    """Their name of our tensor in this file."""
    for i in range(3):
        number = str(i + 1)
        for prefix, names in NAMES:
            prefix = prefix.replace("#", str(i))
            if not ours.startswith(prefix):
                continue
            rest = ours[len(prefix):].replace("weight", "kernel")
            for name in names:
                name = name.replace("#", number) + rest
                if "w." + name in file:
                    return name
    raise SystemExit(f"no name for {ours}")


SCHEMA = {
    "fields": [{"group": group, "table": t, "more": 0, "continues": 0}
               for group, t in (("profile", "uid"), ("item", "mid"),
                                ("item", "cat"))],
    "tables": {t: {"dimension": 18} for t in ("uid", "mid", "cat")},
}


def make_batch(file):
    get = {key[7:]: value for key, value in file.items()
           if key.startswith("batch0.")}
    lengths, T = get["sl"].tolist(), get["mh"].shape[1]

    def cut(mid, cat):
        return torch.cat([torch.stack([mid[i, :n], cat[i, :n]], 1)
                          for i, n in enumerate(lengths)])

    begin = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    return {
        "group_begin": list(range(len(lengths) + 1)), "history_begin": begin,
        "index": torch.stack([get["uid"], get["mid"], get["cat"]], 1),
        "history": cut(get["mh"], get["ch"]),
        "negative": cut(get["nm"][:, :, 0], get["nc"][:, :, 0]),
        "label": get["y"][:, 0].long(), "kind": get["y"][:, 0].long() * 0,
        "padded_to": T, "padding": [0, 0], "item_first": 1, "goods": 90,
    }


def far(a, b):
    return float((a - b.double()).abs().max() / b.double().abs().max())


def check(name, path):
    kind, changes = MODELS[name]
    case = {**profile("reference", kind), **changes, "batch_size": 8,
            "attention_hidden": [80, 40], "mlp_hidden": [200, 80],
            "auxiliary_hidden": [100, 50]}
    file, shape = read(path), Shape(case, SCHEMA)
    w = {}
    for key, size in tensor_shapes(case, shape).items():
        if "mean" in key or "variance" in key:
            w[key] = torch.ones(size, dtype=torch.float64)
            continue
        value = file["w." + theirs(file, key)].double()
        w[key] = value[..., :size[-1]].reshape(size)
    rows = {t: file[f"w.{t}_embedding_var"].double()
            for t in ("uid", "mid", "cat")}
    batch = make_batch(file)
    forward = Forward(case, shape, w, rows, batch, True)
    loss, auxiliary, g, row_g, _ = differentiate(case, shape, w, rows, batch)
    epsilon = case["probability_epsilon"]
    worst = {"y": far(torch.sigmoid(forward.margin) + epsilon,
                      file["y"][:, 0]),
             "loss": far(torch.tensor(loss).double(), file["loss"])}
    if case["auxiliary"] != "none":
        worst["aux"] = far(torch.tensor(auxiliary).double(), file["aux"])
    if forward.attention:
        alphas = file["alphas"].reshape(len(batch["label"]), -1)
        n = [len(a) for a in forward.attention]
        worst["alphas"] = far(
            torch.cat(forward.attention),
            torch.cat([alphas[i, :n[i]] for i in range(len(n))]))
    for key, value in g.items():
        right = file["g." + theirs(file, key)][..., :value.shape[-1]]
        if key != "attention.2.bias":  # 0 but for rounding
            worst[key] = far(value, right.reshape(value.shape))
    for key, value in row_g.items():
        worst[key] = far(value, file[f"g.{key}_embedding_var"])
    top = sorted(((value, key) for key, value in worst.items()), reverse=True)
    print(f"{name}: {len(worst)} compared, worst "
          + ", ".join(f"{key} {value:.1e}" for value, key in top[:3]))


def main():
    for name in MODELS:
        check(name, os.path.join(sys.argv[1], name + ".safetensors"))


if __name__ == "__main__":
    main()
