# SPDX-License-Identifier: Apache-2.0
"""Every model of the seeds in PyTorch, one sample at a time, nothing shared
and nothing packed: what the C code is compared with. Used by make_models.py.

A case is a dictionary of switches (named as in struct learner_model_config).
Symbols: B samples, T behaviors, D width of the item embedding, H of a state,
u the keep gate of a GRU as TensorFlow has it, z = 1 - u the update gate of
the paper. Rows of tables hold the embedding, then the first-order weight
where the kind has one.
"""
import math

import torch

GRU_KINDS = ("gru_att", "dien")
ABSENT = -1


def first_order(case):
    return case["kind"] in ("lr", "deepfm") or (
        case["kind"] == "wide_deep" and case["wide"] == "crosses")


def cross_rows(behavior, candidate, goods):
    """An unknown id (0) on either side makes an unknown cross."""
    known = (behavior != 0) & (candidate != 0)
    return torch.where(known, behavior * goods + candidate, 0 * behavior)


class Shape:
    """Features and widths of a case over the fields of its stream."""

    def __init__(self, case, schema):
        self.features = {"profile": [], "item": [], "context": []}
        self.columns = {"profile": [], "item": [], "context": []}
        self.tables = []
        skip = False
        for i, field in enumerate(schema["fields"]):
            if not field["continues"]:
                skip = bool(case["fields_off"] >> i & 1)
            if skip:
                continue
            if field["table"] not in self.tables:
                self.tables.append(field["table"])
            group = field["group"]
            place = len(self.columns[group])
            self.columns[group].append(i)
            if field["continues"]:
                self.features[group][-1][1].append(place)
            else:
                self.features[group].append((field["table"], [place]))
        self.E = {t: case["dimension"] or schema["tables"][t]["dimension"]
                  for t in self.tables}
        self.width = {group: sum(self.E[t] for t, _ in features)
                      for group, features in self.features.items()}
        self.D = self.width["item"]
        self.H = case["hidden"] or self.D
        self.X = sum(self.width.values()) + self.D * (
            1 if case["kind"] in ("base", "wide_deep", "deepfm") else 2)
        if case["kind"] == "din":
            self.X += self.D
        if case["kind"] in GRU_KINDS:
            self.X += self.H


def mlp_shapes(name, sizes):
    shapes = {}
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        shapes[f"{name}.{i}.weight"] = (a, b)
        shapes[f"{name}.{i}.bias"] = (b,)
    return shapes


def gru_shapes(name, inputs, H, gates):
    return {f"{name}.gates.weight": (inputs + H, gates * H),
            f"{name}.gates.bias": (gates * H,),
            f"{name}.candidate.weight": (inputs + H, H),
            f"{name}.candidate.bias": (H,)}


def attention_shapes(case, q):
    if case["attention"] == "inner":
        return {}
    width = 4 * q if case["attention"] == "unit" else 2 * q + q * q
    return mlp_shapes("attention", [width, *case["attention_hidden"], 1])


def tensor_shapes(case, shape):
    """Trained tensors, then Dice's statistics."""
    shapes, D, H, kind = {}, shape.D, shape.H, case["kind"]
    if first_order(case):
        shapes["first_order.bias"] = (1,)
    if kind == "lr":
        return shapes
    shapes["bn.gamma"] = shapes["bn.beta"] = (shape.X,)
    if kind == "din":
        shapes.update(attention_shapes(case, D))
    if kind in GRU_KINDS:
        shapes["query.weight"] = (D, H)
        if case["attention"] != "inner":
            shapes["query.bias"] = shapes["query.alpha"] = (H,)
        shapes.update(attention_shapes(case, H))
        shapes.update(gru_shapes("gru1", D, H, 2))
        agru = kind == "dien" and case["evolution"] == "agru"
        shapes.update(gru_shapes("gru2", H, H, 1 if agru else 2))
        if case["auxiliary"] == "network":
            shapes["auxiliary.bn.gamma"] = (H + D,)
            shapes["auxiliary.bn.beta"] = (H + D,)
            shapes.update(mlp_shapes(
                "auxiliary", [H + D, *case["auxiliary_hidden"], 2]))
    shapes.update(mlp_shapes("mlp", [shape.X, *case["mlp_hidden"], 2]))
    for i, width in enumerate(case["mlp_hidden"]):
        if case["activation"] in ("prelu", "dice"):
            shapes[f"mlp.{i}.alpha"] = (width,)
        if case["activation"] == "dice":
            shapes[f"mlp.{i}.mean"] = shapes[f"mlp.{i}.variance"] = (width,)
    if kind == "wide_deep" and case["wide"] == "dense":
        shapes["wide.weight"], shapes["wide.bias"] = (3 * D, 2), (2,)
    return shapes


# ---- parts ------------------------------------------------------------------


def dense(w, name, x):
    return x @ w[name + ".weight"] + w[name + ".bias"]


def affine(w, name, x):
    """Batch normalization with moments 0 and 1, as the authors' code runs."""
    return w[name + ".gamma"] * x / math.sqrt(1 + 0.001) + w[name + ".beta"]


def prelu(x, alpha):
    return torch.clamp(x, min=0) + alpha * torch.clamp(x, max=0)


def dice(case, w, i, x, training, moved):
    name, epsilon = f"mlp.{i}", case["dice_epsilon"]
    mean, variance = w[name + ".mean"], w[name + ".variance"]
    if training or case["dice_batch"]:
        mean = x.mean(0)
        variance = ((x - mean) ** 2).mean(0)
        moved[name + ".mean"] = mean.detach()
        moved[name + ".variance"] = variance.detach()
    if case["profile"] == "reference":  # epsilon twice, as in the code
        z = (x - mean) / (torch.sqrt(variance + epsilon) + epsilon)
    else:
        z = (x - mean) / torch.sqrt(variance + epsilon)
    p = torch.sigmoid(z)
    return p * x + w[name + ".alpha"] * (1 - p) * x


def activation(case, w, i, x, training, moved):
    kind = case["activation"]
    if kind == "dice":
        return dice(case, w, i, x, training, moved)
    if kind == "prelu":
        return prelu(x, w[f"mlp.{i}.alpha"])
    return torch.sigmoid(x) if kind == "sigmoid" else torch.relu(x)


def gru_step(w, name, form, x, h, a=None):
    gates = torch.sigmoid(dense(w, name + ".gates", torch.cat([x, h])))
    r, u = gates[:len(h)], gates[len(h):]
    c = torch.tanh(dense(w, name + ".candidate", torch.cat([x, r * h])))
    if form == "agru":
        keep = 1 - a
    elif form == "augru_code":
        keep = (1 - a) * u
    elif form == "augru":
        keep = 1 - a * (1 - u)
    else:
        keep = u
    return keep * h + (1 - keep) * c


def gru(w, name, form, xs, H, a=None):
    """All states (T,H); the first step starts from 0."""
    states, h = [], xs.new_zeros(H)
    for t, x in enumerate(xs):
        if form == "aigru":
            h = gru_step(w, name, "gru", a[t] * x, h)
        else:
            h = gru_step(w, name, form, x, h, None if a is None else a[t])
        states.append(h)
    return torch.stack(states) if states else xs.new_zeros(0, H)


def attend(case, w, q, k):
    """Weights (T) of the keys k (T,.)"""
    if len(k) == 0:
        return k.new_zeros(0)
    q = q.expand(len(k), -1)
    if case["attention"] == "inner":
        a = (q * k).sum(1)
    else:
        if case["attention"] == "unit":
            v = torch.cat([q, k, q - k, q * k], 1)
        else:
            outer = (q[:, :, None] * k[:, None, :]).reshape(len(k), -1)
            v = torch.cat([q, outer, k], 1)
        v = torch.sigmoid(dense(w, "attention.0", v))
        v = torch.sigmoid(dense(w, "attention.1", v))
        a = dense(w, "attention.2", v)[:, 0]
    return torch.softmax(a, 0) if case["attention_softmax"] else a


def query(case, w, e_a):
    if case["attention"] == "inner":
        return e_a @ w["query.weight"]
    return prelu(dense(w, "query", e_a), w["query.alpha"])


def auxiliary_click(case, w, h, e):
    """(ln p, ln (1 - p)) of the next behavior e, after the state h."""
    epsilon = case["probability_epsilon"]
    if case["auxiliary"] == "inner":
        s = torch.dot(h, e)
        logits = torch.stack([s, s.new_zeros(())])
    else:
        v = affine(w, "auxiliary.bn", torch.cat([h, e]))
        v = torch.sigmoid(dense(w, "auxiliary.0", v))
        v = torch.sigmoid(dense(w, "auxiliary.1", v))
        logits = dense(w, "auxiliary.2", v)
    if epsilon == 0:
        return tuple(torch.log_softmax(logits, 0))
    p = torch.softmax(logits, 0)[0] + epsilon
    return torch.log(p), torch.log(1 - p)


# ---- one batch --------------------------------------------------------------


class Forward:
    """Margins, attention and auxiliary loss of a batch; see loss()."""

    def __init__(self, case, shape, w, rows, batch, training):
        self.case, self.shape, self.w, self.rows = case, shape, w, rows
        self.batch, self.training = batch, training
        self.moved, self.attention = {}, []
        self.cells, self.cell_sum = 0, 0.0
        samples = [self.sample(g, i)
                   for g in range(len(batch["group_begin"]) - 1)
                   for i in range(*batch["group_begin"][g:g + 2])]
        extra = torch.stack([extra for _, extra, _ in samples])
        self.margin = extra
        if case["kind"] != "lr":
            y = affine(w, "bn", torch.stack([x for x, _, _ in samples]))
            for i in range(2):
                y = activation(case, w, i, dense(w, f"mlp.{i}", y), training,
                               self.moved)
            logits = dense(w, "mlp.2", y)
            if case["kind"] == "wide_deep" and case["wide"] == "dense":
                logits = logits + dense(
                    w, "wide", torch.stack([v for _, _, v in samples]))
            self.margin = logits[:, 0] - logits[:, 1] + extra

    def features(self, group, ids):
        """[(embedding (n,E), first order (n))] of ids (n, columns)"""
        out = []
        for table, places in self.shape.features[group]:
            at = ids[:, places]
            there = (at != ABSENT).to(self.rows[table].dtype)
            values = self.rows[table][at.clamp(min=0)] * there[:, :, None]
            mean = values.sum(1) / there.sum(1)[:, None]
            E = 0 if self.case["kind"] == "lr" else self.shape.E[table]
            out.append((mean[:, :E],
                        mean[:, E] if first_order(self.case) else None))
        return out

    def ids(self, name, group, begin, end):
        columns = self.shape.columns[group]
        if name != "index":  # item fields only
            first = self.batch["item_first"]
            columns = [c - first for c in columns]
        return self.batch[name][begin:end][:, columns]

    def embedding(self, features):
        if not features:
            return None
        return torch.cat([e for e, _ in features], 1)

    def pool(self, values):
        """Of (T, n), padded as the authors' code does where asked for."""
        if self.case["pooling"] == "mean":
            return values.sum(0) / max(1, len(values))
        total = values.sum(0)
        if self.batch["padded_to"]:
            first = self.batch["item_first"]
            pad = [self.batch["padding"][c - first]
                   for c in self.shape.columns["item"]]
            pad = self.embedding(self.features("item", torch.tensor([pad])))
            total = total + (self.batch["padded_to"] - len(values)) * pad[0]
        return total

    def sample(self, g, i):
        """x, the margin's extra terms, input of the dense wide layer"""
        begin, end = self.batch["history_begin"][g:g + 2]
        own = {group: self.features(group, self.ids("index", group, i, i + 1))
               for group in ("profile", "item", "context")}
        past = self.features("item", self.ids("history", "item", begin, end))
        extra = self.rows[self.shape.tables[0]].new_zeros(())
        if first_order(self.case):
            extra = self.w["first_order.bias"][0]
            for features in own.values():
                extra = extra + sum(bias.sum() for _, bias in features)
            extra = extra + sum(bias.sum() for _, bias in past)
        if self.case["kind"] == "lr":
            return None, extra, None
        if self.case["kind"] == "wide_deep" and self.case["wide"] == "crosses":
            extra = extra + self.rows["cross"][self.crosses(i, g), 0].sum()
        e_a, k = self.embedding(own["item"])[0], self.embedding(past)
        s = self.pool(k)
        if self.case["kind"] == "deepfm":
            extra = extra + self.factorization(own, past)
        parts = [self.embedding(own["profile"]), e_a[None],
                 self.embedding(own["context"]), s[None]]
        if self.case["kind"] not in ("base", "wide_deep", "deepfm"):
            parts.append((e_a * s)[None])
        if self.case["kind"] in ("din",) + GRU_KINDS:
            parts.append(self.interest(e_a, k, begin, end)[None])
        x = torch.cat([part for part in parts if part is not None], 1)[0]
        return x, extra, torch.cat([e_a, s, e_a * s])

    def crosses(self, i, g):
        """Rows of (behavior, candidate), by their first item column."""
        begin, end = self.batch["history_begin"][g:g + 2]
        first = self.shape.columns["item"][0]
        a = self.batch["index"][i, first]
        k = self.batch["history"][begin:end, first - self.batch["item_first"]]
        return cross_rows(k, a, self.batch["goods"])

    def factorization(self, own, past):
        v = [e[0] for features in own.values() for e, _ in features]
        v += [self.pool(e) for e, _ in past]
        v = torch.stack(v)
        return 0.5 * (v.sum(0) ** 2 - (v ** 2).sum(0)).sum()

    def interest(self, e_a, k, begin, end):
        case, w, H = self.case, self.w, self.shape.H
        if case["kind"] == "din":
            a = attend(case, w, e_a, k)
            self.attention.append(a.detach())
            return a @ k
        states = gru(w, "gru1", "gru", k, H)
        if case["auxiliary"] != "none" and self.training:
            self.auxiliary(states, k, begin, end)
        q = query(case, w, e_a)
        if case["kind"] == "gru_att":
            second = gru(w, "gru2", "gru", states, H)
            a = attend(case, w, q, second)
            self.attention.append(a.detach())
            return a @ second
        a = attend(case, w, q, states)
        self.attention.append(a.detach())
        second = gru(w, "gru2", case["evolution"], states, H, a)
        return second[-1] if len(second) else states.new_zeros(H)

    def auxiliary(self, states, k, begin, end):
        ids = self.ids("negative", "item", begin, end)
        for t in range(1, len(states)):
            if (ids[t] == ABSENT).all():
                continue
            wrong = self.embedding(self.features("item", ids[t:t + 1]))[0]
            click, _ = auxiliary_click(self.case, self.w, states[t - 1], k[t])
            _, skip = auxiliary_click(self.case, self.w, states[t - 1], wrong)
            self.cell_sum = self.cell_sum - click - skip
            self.cells += 1

    def loss(self):
        """(the loss, the auxiliary loss before its weight)"""
        batch, case = self.batch, self.case
        label, kind = batch["label"], batch["kind"]
        p = torch.sigmoid(self.margin).detach()
        weight = torch.ones_like(p)
        weight[kind == 1] = ((1 - p) * (1 + p))[kind == 1]  # fnw negative
        weight[kind == 2] = (1 + p)[kind == 2]              # fnw positive
        sign = 2 * label.to(p.dtype) - 1
        if case["probability_epsilon"] == 0:
            log_p = torch.nn.functional.logsigmoid(sign * self.margin)
        else:
            log_p = torch.log(torch.sigmoid(sign * self.margin) +
                              case["probability_epsilon"])
        loss = -case["loss_scale"] * (weight * log_p).sum() / \
            case["batch_size"]
        auxiliary = p.new_zeros(())
        if self.cells:
            cells = self.cells
            if batch["padded_to"]:
                cells = len(label) * (batch["padded_to"] - 1)
            auxiliary = self.cell_sum / cells
        return loss + case["auxiliary_weight"] * auxiliary, auxiliary
