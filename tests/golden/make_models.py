#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of every model in both profiles, by PyTorch's autograd in
float64 (model.py has the equations, optimizers.py the update rules).

Writes models/*.safetensors next to this file: the streams (schema and 20
batches each), and per case its switches, weights, what the first batch gives
(prediction, attention, losses, every gradient, moved statistics), and 20
steps of training. Each case is run in float32 too: weights with which
rounding alone takes more than a quarter of the test's tolerance are not used,
the next ones are.

    /usr/bin/python3 tests/golden/make_models.py [CASE ...]
"""
import json
import math
import os
import struct
import sys

import torch

from model import Forward, GRU_KINDS, Shape, first_order, tensor_shapes
from optimizers import Optimizer

STEPS, SAMPLES = 20, 12
# Numbers of the enums in learner.h; the first is 0.
ENUMS = {
    "profile": ["streaming", "reference"],
    "kind": ["din", "lr", "base", "wide_deep", "pnn", "deepfm", "gru_att",
             "dien"],
    "activation": ["prelu", "dice", "sigmoid", "relu"],
    "pooling": ["sum", "mean"],
    "attention": ["unit", "outer", "inner"],
    "evolution": ["augru", "augru_code", "agru", "aigru"],
    "auxiliary": ["none", "network", "inner"],
    "wide": ["crosses", "dense"],
    "optimizer": ["adam", "adagrad", "row_adagrad", "ftrl", "sgd"],
    "regularizer": ["none", "l2", "dropout", "filter", "difacto", "mba"],
}


def profile(name, kind):
    """MODEL's table of the two profiles."""
    reference, gru = name == "reference", kind in GRU_KINDS
    return {
        "profile": name, "kind": kind, "pooling": "sum", "attention": "unit",
        "activation": "dice" if gru or kind == "din" else "prelu",
        "attention_softmax": int(reference or gru),
        "evolution": "augru_code" if reference else "augru",
        "auxiliary": "network" if kind == "dien" else "none",
        "wide": "dense" if reference else "crosses",
        "optimizer": "ftrl" if kind == "lr" else "adam",
        "regularizer": "none", "hidden": 0, "dimension": 0, "fields_off": 0,
        "dice_batch": int(reference),
        "dice_epsilon": 1e-9 if reference else 1e-8,
        "probability_epsilon": 1e-8 if reference else 0.0,
        "loss_scale": 0.5 if reference else 1.0,
        "auxiliary_weight": 1.0 if reference else 2.0,
        "adam_every_row": int(reference), "lambda": 0.01,
        "rate_decay": 1.0, "rate_decay_samples": 1 << 40,
        "ftrl_alpha": 0.1, "ftrl_beta": 1.0, "ftrl_l1": 0.0, "ftrl_l2": 0.0,
    }


# Given in every case, whatever the profile says.
SIZES = {"attention_hidden": [8, 5], "mlp_hidden": [10, 6],
         "auxiliary_hidden": [7, 5], "batch_size": SAMPLES, "shards": 3,
         "learning_rate": 0.002}

S, R = "streaming", "reference"
CASES = {
    # name: (profile, kind, stream, switches that differ)
    "lr": (S, "lr", "plain", {"ftrl_l1": 0.01, "ftrl_l2": 0.1}),
    "lr_rich_adam": (S, "lr", "rich", {"optimizer": "adam"}),
    "base": (S, "base", "plain", {}),
    "base_mean_relu_adagrad": (S, "base", "rich", {
        "pooling": "mean", "activation": "relu", "optimizer": "adagrad",
        "learning_rate": 0.01}),
    "base_sigmoid_sgd_l2_no_goods": (S, "base", "plain", {
        "activation": "sigmoid", "optimizer": "sgd", "fields_off": 2,
        "regularizer": "l2", "learning_rate": 0.1}),
    "base_dice_difacto": (S, "base", "plain", {
        "activation": "dice", "regularizer": "difacto"}),
    "wide_deep": (S, "wide_deep", "plain", {}),
    "wide_deep_mean_dense": (S, "wide_deep", "rich", {
        "wide": "dense", "pooling": "mean"}),
    "pnn_rich_mba": (S, "pnn", "rich", {
        "regularizer": "mba", "rate_decay": 0.5, "rate_decay_samples": 50}),
    "deepfm": (S, "deepfm", "plain", {"dimension": 3}),
    "deepfm_rich_mean": (S, "deepfm", "rich", {
        "dimension": 4, "pooling": "mean", "optimizer": "sgd",
        "learning_rate": 0.05}),
    "din": (S, "din", "plain", {}),
    "din_rich_softmax": (S, "din", "rich", {"attention_softmax": 1}),
    "din_prelu_row_adagrad": (S, "din", "plain", {
        "activation": "prelu", "optimizer": "row_adagrad",
        "learning_rate": 0.01}),
    "din_mba": (S, "din", "plain", {"regularizer": "mba"}),
    "din_inner": (S, "din", "plain", {"attention": "inner"}),
    "din_inner_softmax_sigmoid": (S, "din", "rich", {
        "attention": "inner", "attention_softmax": 1,
        "activation": "sigmoid"}),
    "din_outer_relu": (S, "din", "plain", {
        "attention": "outer", "activation": "relu"}),
    "gru_att": (S, "gru_att", "plain", {"hidden": 5}),
    "gru_att_rich_auxiliary": (S, "gru_att", "rich", {
        "auxiliary": "network"}),
    "dien": (S, "dien", "plain", {}),
    "dien_rich": (S, "dien", "rich", {"hidden": 5}),
    "dien_rich_no_goods": (S, "dien", "rich", {"fields_off": 4}),
    "dien_wide": (S, "dien", "plain", {
        "hidden": 17, "attention_hidden": [17, 9], "mlp_hidden": [18, 7],
        "auxiliary_hidden": [17, 5], "evolution": "aigru"}),
    "dien_no_auxiliary": (S, "dien", "plain", {"auxiliary": "none"}),
    "dien_auxiliary_inner": (S, "dien", "plain", {"auxiliary": "inner"}),
    "dien_augru_code": (S, "dien", "plain", {"evolution": "augru_code"}),
    "dien_agru": (S, "dien", "plain", {"evolution": "agru", "hidden": 6}),
    "dien_aigru": (S, "dien", "plain", {"evolution": "aigru"}),
    "dien_attention_inner": (S, "dien", "plain", {
        "attention": "inner", "hidden": 5}),
    "dien_attention_outer": (S, "dien", "plain", {
        "attention": "outer", "hidden": 4, "activation": "prelu"}),
    "dien_no_softmax": (S, "dien", "rich", {
        "attention_softmax": 0, "optimizer": "adagrad",
        "learning_rate": 0.01}),
    "reference_lr": (R, "lr", "reference", {}),
    "reference_base": (R, "base", "reference", {}),
    "reference_base_mean": (R, "base", "reference", {"pooling": "mean"}),
    "reference_wide_deep": (R, "wide_deep", "reference", {
        "probability_epsilon": 0.0}),
    "reference_wide_deep_crosses": (R, "wide_deep", "reference", {
        "wide": "crosses"}),
    "reference_pnn": (R, "pnn", "reference", {}),
    "reference_deepfm": (R, "deepfm", "reference", {"dimension": 3}),
    "reference_din": (R, "din", "reference", {}),
    "reference_din_prelu": (R, "din", "reference", {"activation": "prelu"}),
    "reference_gru_att": (R, "gru_att", "reference", {}),
    "reference_dien": (R, "dien", "reference", {}),
    "reference_dien_no_auxiliary": (R, "dien", "reference", {
        "auxiliary": "none"}),
    "reference_dien_auxiliary_inner": (R, "dien", "reference", {
        "auxiliary": "inner"}),
    "reference_dien_agru": (R, "dien", "reference", {"evolution": "agru"}),
    "reference_dien_aigru": (R, "dien", "reference", {"evolution": "aigru"}),
    "reference_dien_augru": (R, "dien", "reference", {"evolution": "augru"}),
}


# ---- streams ----------------------------------------------------------------


def field(group, table, more=0, continues=0):
    return {"group": group, "table": table, "more": more,
            "continues": continues}


def table(name, dimension, rows):
    return {"name": name, "dimension": dimension, "rows": rows}


PLAIN = {
    "fields": [field("profile", "gender"), field("item", "goods"),
               field("item", "cate"), field("context", "pid")],
    "tables": {t["name"]: t for t in [
        table("gender", 3, 4), table("goods", 4, 17), table("cate", 3, 6),
        table("pid", 3, 5)]},
}
# Two profile fields; an item with a multi-hot field of three places; two
# context fields that share a table.
RICH = {
    "fields": [field("profile", "gender"), field("profile", "age"),
               field("item", "goods"), field("item", "genres", more=2),
               field("item", "genres", continues=1),
               field("item", "genres", continues=1),
               field("context", "slot"), field("context", "slot")],
    "tables": {t["name"]: t for t in [
        table("gender", 3, 4), table("age", 3, 7), table("goods", 4, 13),
        table("genres", 3, 8), table("slot", 2, 6)]},
}
STREAMS = {"plain": (PLAIN, False, 0), "rich": (RICH, True, 0),
           "reference": (PLAIN, False, 1)}


def draw_ids(schema, group, count):
    """(count, columns): any places of a multi-hot field absent, never all."""
    columns, run = [], []
    for f in schema["fields"]:
        if f["group"] != group:
            continue
        ids = torch.randint(0, schema["tables"][f["table"]]["rows"], (count,))
        run = run + [ids] if f["continues"] else [ids]
        columns.append(ids)
        if f["more"]:
            kept = torch.randint(0, f["more"] + 1, (count,))
            absent = torch.rand(count, f["more"] + 1) < 0.4
            absent[torch.arange(count), kept] = False
        if f["more"] or f["continues"]:
            ids[absent[:, len(run) - 1]] = -1
    if not columns:
        return torch.zeros(count, 0, dtype=torch.int64)
    return torch.stack(columns, 1)


def begins(counts):
    return [0] + torch.tensor(counts).cumsum(0).tolist()


def make_batch(schema, fnw, shortest, first):
    sizes = []
    while sum(sizes) < SAMPLES:
        sizes.append(min(int(torch.randint(1, 5, ())),
                         SAMPLES - sum(sizes)))
    if first:
        sizes = [3, 1, 4, 2, 2]
    lengths = torch.randint(shortest, 7, (len(sizes),)).tolist()
    if first:
        lengths = [4, max(shortest, 0), 6, 1, 3]
    cells = sum(lengths)
    negative = draw_ids(schema, "item", cells)
    history_begin = begins(lengths)
    for g, size in enumerate(lengths):
        for t in range(size):
            left_out = not shortest and float(torch.rand(())) < 0.15
            if t == 0 or left_out:
                negative[history_begin[g] + t] = -1
    label = (torch.rand(SAMPLES) < 0.4).long()
    index = torch.cat([draw_ids(schema, group, SAMPLES)
                       for group in ("profile", "item", "context")], 1)
    groups = [f["group"] for f in schema["fields"]]
    return {
        "group_begin": begins(sizes), "history_begin": history_begin,
        "index": index, "history": draw_ids(schema, "item", cells),
        "negative": negative, "label": label,
        "kind": 1 + label if fnw else 0 * label,
        "padded_to": 8 if shortest else 0,
        "padding": [-1 if f["continues"] else 0 for f in schema["fields"]
                    if f["group"] == "item"],
        "item_first": groups.index("item"),
        "goods": schema["tables"]["goods"]["rows"],
    }


def make_stream(name):
    schema, fnw, shortest = STREAMS[name]
    torch.manual_seed(sum(name.encode()))
    return schema, [make_batch(schema, fnw, shortest, i == 0)
                    for i in range(STEPS)]


def stream_values(schema, batches):
    """The stream as tensors of its file."""
    names = list(schema["tables"])
    groups = ["profile", "item", "context"]
    out = {"schema.group": [groups.index(f["group"])
                            for f in schema["fields"]],
           "schema.table": [names.index(f["table"])
                            for f in schema["fields"]],
           "schema.more": [f["more"] for f in schema["fields"]],
           "schema.continues": [f["continues"] for f in schema["fields"]],
           "schema.dimension": [t["dimension"]
                                for t in schema["tables"].values()],
           "schema.rows": [t["rows"] for t in schema["tables"].values()],
           **{f"schema.name.{i}.{name}": [] for i, name in enumerate(names)},
           }
    for i, batch in enumerate(batches):
        for key in ("group_begin", "history_begin", "index", "history",
                    "negative", "label", "kind"):
            out[f"{i}.{key}"] = batch[key]
    return {key: torch.as_tensor(value) for key, value in out.items()}


# ---- cases ------------------------------------------------------------------


def make_case(name):
    base, kind, stream, changes = CASES[name]
    case = {**profile(base, kind), **SIZES, **changes}
    for key in ("attention_hidden", "mlp_hidden", "auxiliary_hidden"):
        case[key] = list(case[key])
    return case, stream, {**SIZES, **changes}


def start_weights(case, shape, schema, seed):
    torch.manual_seed(seed)
    w, rows = {}, {}
    for key, size in tensor_shapes(case, shape).items():
        x = torch.randn(size, dtype=torch.float64)
        x = x / math.sqrt(size[0]) if len(size) == 2 else 0.3 * x
        if "variance" in key or "gamma" in key:
            x = 0.5 + x.abs()
        if "gates.bias" in key:
            x = 1 + x
        # an attention that looks at something: a flat one has gradients that
        # are sums of what cancels
        if key.startswith(("attention", "query", "gru1", "gru2")) and \
                key.endswith("weight"):
            x = 3 * x
        w[key] = x.float().double()
    wide = 1 if first_order(case) else 0
    for t in shape.tables:
        E = 0 if case["kind"] == "lr" else shape.E[t]
        x = torch.randn(schema["tables"][t]["rows"], E + wide)
        rows[t] = (0.7 * x).float().double()
    if wide and case["kind"] == "wide_deep":
        goods = schema["tables"]["goods"]["rows"]
        rows["cross"] = (0.3 * torch.randn(goods * goods, 1)).double()
    if case["optimizer"] == "ftrl":  # weights follow from z, which is 0
        w = {key: torch.zeros_like(x) for key, x in w.items()}
        rows = {key: torch.zeros_like(x) for key, x in rows.items()}
    return w, rows


def differentiate(case, shape, w, rows, batch):
    w = {key: x.clone().requires_grad_("mean" not in key and
                                       "variance" not in key)
         for key, x in w.items()}
    rows = {key: x.clone().requires_grad_() for key, x in rows.items()}
    forward = Forward(case, shape, w, rows, batch, True)
    loss, auxiliary = forward.loss()
    loss.backward()
    gradients = {key: torch.zeros_like(x) if x.grad is None else x.grad
                 for key, x in w.items() if x.requires_grad}
    row_gradients = {key: torch.zeros_like(x) if x.grad is None else x.grad
                     for key, x in rows.items()}
    return (float(loss.detach()), float(auxiliary.detach()), gradients,
            row_gradients, forward.moved)


def move(case, w, moved):
    """Statistics for scoring, momentum 0.99."""
    if case["dice_batch"]:
        return
    for key, x in moved.items():
        w[key] = 0.99 * w[key] + 0.01 * x


def train(case, shape, w, rows, batches):
    w = {key: x.clone() for key, x in w.items()}
    rows = {key: x.clone() for key, x in rows.items()}
    optimizer, curve = Optimizer(case, shape), []
    for batch in batches:
        batch = {**batch, "padded_to": 0}  # as a daemon trains
        loss, auxiliary, g, row_g, moved = differentiate(case, shape, w, rows,
                                                         batch)
        curve.append((loss, auxiliary))
        optimizer.step(w, g, rows, row_g, batch)
        move(case, w, moved)
    return torch.tensor(curve, dtype=torch.float64), w, rows


def widest(a, b):
    top = float(b.abs().max()) if b.numel() else 0.0
    return float((a - b).abs().max()) / top if top > 0 else 0.0


def noise(case, key):
    """A bias before a softmax has a gradient of 0: its steps are noise."""
    return case["attention_softmax"] and key == "attention.2.bias"


def distance(case, parts, exact):
    """(largest difference of a tensor by its maximum, the tensor's name)"""
    return max((widest(part[key].double(), right[key]), key)
               for part, right in zip(parts, exact) for key in right
               if not noise(case, key))


def rounding(case, shape, w, rows, batches, first, exact, gradients):
    """How far float32 is from float64, as shares of the test's tolerances:
    gradients of the first batch, and where the steps end."""
    single = [{key: x.float() for key, x in part.items()}
              for part in (w, rows)]
    found = differentiate(case, shape, *single, first)[2:4]
    value, key = distance(case, found, gradients)
    curve, *after = train(case, shape, *single, batches)
    return max((value / 2e-5, "gradient of " + key),
               (widest(curve, exact[0]) / 2e-4, "losses"),
               *((value / 2e-4, key + " after steps") for value, key in
                 [distance(case, after, exact[1:])]))


def padded(case, batch):
    """Only where the authors' code has such a model."""
    theirs = case["profile"] == "reference" and case["pooling"] == "sum" and \
        case["kind"] not in ("lr", "deepfm") and not first_order(case)
    return batch if theirs else {**batch, "padded_to": 0}


def case_values(name):
    case, stream, given = make_case(name)
    schema, batches = make_stream(stream)
    shape, first = Shape(case, schema), padded(case, batches[0])
    for attempt in range(50):
        w, rows = start_weights(case, shape, schema,
                                1000 * attempt + sum(name.encode()))
        loss, auxiliary, g, row_g, moved = differentiate(case, shape, w, rows,
                                                         first)
        exact = train(case, shape, w, rows, batches)
        worst = rounding(case, shape, w, rows, batches, first, exact,
                         (g, row_g))
        if worst[0] < 0.25:
            break
    else:
        raise SystemExit(f"{name}: ill-conditioned: {worst}")
    forward = Forward(case, shape, w, rows, first, False)
    after = {key: x.clone() for key, x in w.items() if key in moved}
    move(case, after, moved)
    out = {"stream." + stream: torch.zeros(1, dtype=torch.int64),
           "padded_to": torch.tensor([first["padded_to"]]),
           "p": torch.sigmoid(forward.margin).detach(),
           "loss": torch.tensor([loss, auxiliary], dtype=torch.float64),
           "curve": exact[0]}
    if forward.attention:
        out["attention"] = torch.cat(forward.attention)
    for key in ("profile", "kind"):
        given[key] = case[key]
    for key, value in given.items():
        value = ENUMS[key].index(value) if key in ENUMS else value
        kind = torch.float64 if isinstance(value, float) else torch.int64
        out["config." + key] = torch.tensor(value, dtype=kind).reshape(-1)
    for title, part in (("w", {**w}), ("rows", rows), ("g", g),
                        ("drows", row_g), ("moved", after),
                        ("after", exact[1]), ("after.rows", exact[2])):
        for key, value in part.items():
            out[f"{title}.{key}"] = value.float()
    return out, worst, attempt


def write_safetensors(path, values):
    kinds = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}
    header, blob = {}, b""
    for name, value in values.items():
        data = value.detach().contiguous().numpy().tobytes()
        header[name] = {"dtype": kinds[value.dtype],
                        "shape": list(value.shape),
                        "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + blob)


def main():
    torch.set_num_threads(1)
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                          "models")
    os.makedirs(folder, exist_ok=True)
    for name in STREAMS:
        write_safetensors(os.path.join(folder, f"stream.{name}.safetensors"),
                          stream_values(*make_stream(name)))
    for name in sys.argv[1:] or CASES:
        values, worst, attempt = case_values(name)
        write_safetensors(os.path.join(folder, name + ".safetensors"), values)
        print(f"{name}: float32 takes {worst[0]:.2f} of the tolerance,"
              f" {worst[1]} (attempt {attempt})", flush=True)


if __name__ == "__main__":
    main()
