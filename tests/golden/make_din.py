#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Golden values of the streaming DIN, by PyTorch's autograd in float64.

Writes din_torch.safetensors next to this file: per case the schema's sizes,
a batch, weights (float32), and what an independent implementation makes of
them: predictions, attention, loss, every gradient, moving statistics. Needs
Debian's python3-torch only. The result is checked in; run it again after a
change of the equations:  /usr/bin/python3 tests/golden/make_din.py
"""
import json
import math
import os
import struct

import torch

PROFILE, ITEM, CONTEXT = 1, 2, 1  # fields
DIMENSION = 4  # of table t: DIMENSION + t
ATTENTION, MLP = (19, 9), (33, 17)
GROUPS, ROWS, BATCH_SIZE = 6, 8, 128
WINDOW, NEGATIVE, POSITIVE = 0, 1, 2


def tensors(dice):
    items = sum(DIMENSION + t for t in range(PROFILE, PROFILE + ITEM))
    rest = sum(DIMENSION + t for t in range(PROFILE + ITEM + CONTEXT)) - items
    width = rest + 4 * items
    shapes = {"bn.gamma": (width,), "bn.beta": (width,)}
    ins = (4 * items,) + ATTENTION, (width,) + MLP
    for name, sizes, out in ("attention", ins[0], 1), ("mlp", ins[1], 2):
        for i, (a, b) in enumerate(zip(sizes, sizes[1:] + (out,))):
            shapes[f"{name}.{i}.weight"] = (a, b)
            shapes[f"{name}.{i}.bias"] = (b,)
    for i in range(2):
        shapes[f"mlp.{i}.alpha"] = (MLP[i],)
        if dice:
            shapes[f"mlp.{i}.mean"] = (MLP[i],)
            shapes[f"mlp.{i}.variance"] = (MLP[i],)
    return shapes


def dense(w, name, x):
    return x @ w[name + ".weight"] + w[name + ".bias"]


def activation(w, i, x, dice, moving, after):
    alpha = w[f"mlp.{i}.alpha"]
    if not dice:
        return torch.clamp(x, min=0) + alpha * torch.clamp(x, max=0)
    mean, variance = w[f"mlp.{i}.mean"], w[f"mlp.{i}.variance"]
    if not moving:
        batch = x.mean(0), x.var(0, unbiased=False)
        after[f"mlp.{i}.mean"] = 0.99 * mean + 0.01 * batch[0]
        after[f"mlp.{i}.variance"] = 0.99 * variance + 0.01 * batch[1]
        mean, variance = batch
    p = torch.sigmoid((x - mean) / torch.sqrt(variance + 1e-8))
    return p * x + alpha * (1 - p) * x


def attend(w, q, k, softmax):
    q = q.expand_as(k)
    v = torch.cat([q, k, q - k, q * k], 1)
    h = torch.sigmoid(dense(w, "attention.0", v))
    h = torch.sigmoid(dense(w, "attention.1", h))
    a = dense(w, "attention.2", h)[:, 0]
    return torch.softmax(a, 0) if softmax else a


def forward(w, rows, batch, dice, softmax, moving):
    xs, weights, after = [], [], {}
    item = range(PROFILE, PROFILE + ITEM)
    for g in range(GROUPS):
        begin, end = batch["history_begin"][g:g + 2]
        k = torch.cat([rows[t][batch["history_index"][begin:end, t - PROFILE]]
                       for t in item], 1)
        for i in range(*batch["group_begin"][g:g + 2]):
            e = [rows[t][batch["index"][i, t]] for t in range(len(rows))]
            q = torch.cat([e[t] for t in item])
            a = attend(w, q, k, softmax) if end > begin else k.new_zeros(0)
            s = k.sum(0)
            xs.append(torch.cat(e[:PROFILE] + [q] + e[PROFILE + ITEM:] +
                                [s, q * s, a @ k]))
            weights.append(a)
    y = w["bn.gamma"] * torch.stack(xs) / math.sqrt(1.001) + w["bn.beta"]
    for i in range(2):
        y = activation(w, i, dense(w, f"mlp.{i}", y), dice, moving, after)
    logits = torch.log_softmax(dense(w, "mlp.2", y), 1)
    return logits, torch.cat(weights), after


def loss_of(logits, batch):
    label, kind = batch["label"], batch["kind"]
    p = logits[:, 0].exp().detach()
    weight = torch.ones_like(p)
    weight[kind == NEGATIVE] = ((1 - p) * (1 + p))[kind == NEGATIVE]
    weight[kind == POSITIVE] = (1 + p)[kind == POSITIVE]
    log_p = torch.where(label == 1, logits[:, 0], logits[:, 1])
    return -(weight * log_p).sum() / BATCH_SIZE


def make_batch(fnw):
    sizes = torch.randint(1, 4, (GROUPS,))
    lengths = torch.randint(1, 8, (GROUPS,))
    lengths[2] = 0
    begins = [torch.cat([torch.zeros(1, dtype=torch.int64), n.cumsum(0)])
              for n in (sizes, lengths)]
    samples, behaviors = int(sizes.sum()), int(lengths.sum())
    label = torch.randint(0, 2, (samples,))
    return {
        "group_begin": begins[0], "history_begin": begins[1],
        "index": torch.randint(0, ROWS, (samples, PROFILE + ITEM + CONTEXT)),
        "history_index": torch.randint(0, ROWS, (behaviors, ITEM)),
        "label": label,
        "kind": (NEGATIVE + label) if fnw else torch.zeros_like(label),
    }


def single(x):
    return x.detach().to(torch.float32)


def make_case(name, dice, softmax, fnw, out):
    shapes = tensors(dice)
    w = {}
    for key, shape in shapes.items():
        x = torch.randn(shape, dtype=torch.float64)
        x = x / math.sqrt(shape[0]) if len(shape) == 2 else 0.3 * x
        if "variance" in key or "gamma" in key:
            x = 0.5 + x.abs()
        w[key] = x.float().double().requires_grad_()
    count = PROFILE + ITEM + CONTEXT
    rows = [torch.randn(ROWS, DIMENSION + t).double().requires_grad_()
            for t in range(count)]
    batch = make_batch(fnw)
    logits, attention, _ = forward(w, rows, batch, dice, softmax, True)
    out[name + ".p"] = logits[:, 0].exp().detach()
    out[name + ".attention"] = attention.detach()
    logits, _, after = forward(w, rows, batch, dice, softmax, False)
    loss = loss_of(logits, batch)
    loss.backward()
    out[name + ".loss"] = loss.detach()
    out[name + ".spec"] = torch.tensor(
        [PROFILE, ITEM, CONTEXT, DIMENSION, *ATTENTION, *MLP, int(dice),
         int(softmax), GROUPS, ROWS])
    for key, value in batch.items():
        out[f"{name}.{key}"] = value
    for key, value in w.items():
        out[f"{name}.w.{key}"] = single(value)
        if "mean" not in key and "variance" not in key:
            out[f"{name}.g.{key}"] = single(value.grad)
    for t, table in enumerate(rows):
        out[f"{name}.rows.{t}"] = single(table)
        out[f"{name}.drows.{t}"] = single(table.grad)
    for key, value in after.items():
        out[f"{name}.after.{key}"] = single(value)


def write_safetensors(path, values):
    kinds = {torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}
    header, blob = {}, b""
    for name, value in values.items():
        data = value.contiguous().numpy().tobytes()
        header[name] = {"dtype": kinds[value.dtype],
                        "shape": list(value.shape),
                        "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + blob)


def main():
    torch.manual_seed(20260122)
    out = {}
    for dice in (True, False):
        for softmax in (False, True):
            for fnw in (False, True):
                name = "_".join([("prelu", "dice")[dice],
                                 ("none", "softmax")[softmax],
                                 ("window", "fnw")[fnw]])
                make_case(name, dice, softmax, fnw, out)
    here = os.path.dirname(os.path.abspath(__file__))
    write_safetensors(os.path.join(here, "din_torch.safetensors"), out)


if __name__ == "__main__":
    main()
