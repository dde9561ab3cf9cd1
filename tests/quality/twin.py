#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""DIN and DIEN in PyTorch over the same samples, predicted before they are
trained: an independent check of what the learner reaches. Written from the
papers and the profile `streaming` of the project's model description; shares
no code with learner/. Rows start from another generator, so the numbers agree
in distribution, not in bits.

Equations: DIN arXiv 1706.06978 (activation unit, Dice), DIEN arXiv 1809.03672
(extractor, auxiliary loss, AUGRU). Symbols: B samples, G groups that share a
history, C valid (behavior, group) cells, P valid (behavior, sample) pairs.

Standard output: the position, about a line a second, then one JSON object."""

import argparse
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from samples import CONTEXT, ITEM, PROFILE, Columns

ABSENT = np.uint64(2**64 - 1)
BATCH = 128            # divisor of the loss
RATE, BETA1, BETA2, EPSILON = 0.001, 0.9, 0.999, 1e-8
MOMENTUM = 0.99        # of Dice's moving statistics
POOL, POOL_LEAST, TRIES = 65536, 256, 8
AUXILIARY_WEIGHT = 2.0


# ---- rows ------------------------------------------------------------------

class Table:
    """Embedding rows; row 0 is that of unknown ids. A row that was never
    trained is unknown to a prediction."""

    def __init__(self, rows, dimension, generator):
        shape = (rows, dimension)
        self.weight = (torch.rand(shape, generator=generator) - 0.5) * 0.1
        self.first, self.second = torch.zeros(shape), torch.zeros(shape)
        self.steps = torch.zeros(rows, dtype=torch.int64)
        self.seen = torch.zeros(rows, dtype=torch.bool)
        self.seen[0] = True

    def apply(self, rows, gradient):
        """Lazy Adam: a row counts its own steps."""
        self.seen[rows] = True
        self.steps[rows] += 1
        steps = self.steps[rows].double()
        first = BETA1 * self.first[rows] + (1 - BETA1) * gradient
        second = BETA2 * self.second[rows] + (1 - BETA2) * gradient**2
        self.first[rows], self.second[rows] = first, second
        rate = RATE * torch.sqrt(1 - BETA2**steps) / (1 - BETA1**steps)
        self.weight[rows] -= rate.float()[:, None] * first / (
            second.sqrt() + EPSILON)


class Dense:
    """All other parameters, with Adam."""

    def __init__(self, parameters):
        self.parameters = list(parameters)
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.step = 0

    @torch.no_grad()
    def apply(self):
        self.step += 1
        rate = RATE * math.sqrt(1 - BETA2**self.step) / (1 - BETA1**self.step)
        for p, first, second in zip(self.parameters, self.first, self.second):
            if p.grad is None:
                continue
            first.mul_(BETA1).add_(p.grad, alpha=1 - BETA1)
            second.mul_(BETA2).addcmul_(p.grad, p.grad, value=1 - BETA2)
            p.addcdiv_(first, second.sqrt().add_(EPSILON), value=-rate)
            p.grad = None


# ---- samples ----------------------------------------------------------------

class Features:
    """From ids to row numbers, once for all samples; ids in order of value,
    0 (unknown) first."""

    def __init__(self, columns):
        made = columns.made
        self.groups = {PROFILE: [], ITEM: [], CONTEXT: []}
        for place, field in enumerate(made["fields"]):
            if field["continues"]:
                self.groups[field["group"]][-1].append(place)
            else:
                self.groups[field["group"]].append([place])
        self.item_first = self.groups[ITEM][0][0]
        self.table_of = [field["table"] for field in made["fields"]]
        self.dimensions = [table["dimension"] for table in made["tables"]]
        self.sizes = [1] * len(self.dimensions)
        self.sample = np.empty(columns.ids.shape, np.int64)
        self.behavior = np.empty(columns.history.shape, np.int64)
        for table in range(len(self.dimensions)):
            self._number(columns, table)
        self.first_ids = columns.ids[:, self.item_first]

    def _number(self, columns, table):
        mine = [i for i, t in enumerate(self.table_of) if t == table]
        parts = [(self.sample[:, i], columns.ids[:, i]) for i in mine]
        items = columns.history.shape[1]
        parts += [(self.behavior[:, i - self.item_first],
                   columns.history[:, i - self.item_first]) for i in mine
                  if self.item_first <= i < self.item_first + items]
        known = np.unique(np.concatenate(
            [np.array([0], np.uint64)] + [np.unique(ids) for _, ids in parts]))
        for into, ids in parts:
            into[:] = np.searchsorted(known, ids)
            into[ids == ABSENT] = -1
        self.sizes[table] = len(known)

    def width(self, group):
        return sum(self.dimensions[self.table_of[places[0]]]
                   for places in self.groups[group])


class Batch:
    """Row numbers and shape of one journal batch."""

    def __init__(self, columns, features, index):
        row = columns.batches[index]
        self.first, self.end = int(row["first"]), int(row["end"])
        groups, at = int(row["groups"]), int(row["groups_at"])
        begin = np.asarray(columns.group_begin[at:at + groups + 1], np.int64)
        self.begin = np.asarray(columns.history_begin[at:at + groups + 1],
                                np.int64)
        behaviors = slice(int(row["behaviors_at"]),
                          int(row["behaviors_at"]) + int(row["behaviors"]))
        self.sample = features.sample[self.first:self.end]
        self.behavior = features.behavior[behaviors]
        self.label = torch.from_numpy(np.asarray(
            columns.label[self.first:self.end], np.float32))
        self.weights = np.diff(begin)            # (G) samples of each group
        self.lengths = np.diff(self.begin)       # (G)
        self.group = np.repeat(np.arange(groups), self.weights)  # (B)
        length = self.lengths[self.group]
        self.pair_sample = np.repeat(np.arange(len(self.group)), length)
        start = np.repeat(np.cumsum(length) - length, length)
        self.pair_behavior = np.arange(len(self.pair_sample)) - start + \
            self.begin[self.group][self.pair_sample]
        self.length = length


class Rows:
    """The rows of a batch as leaves, and embeddings of its cells."""

    def __init__(self, tables, features, batch, extra, train):
        self.features, self.leaf, self.rows, self.place = features, {}, {}, {}
        items = batch.behavior.shape[1]
        first = features.item_first
        for number, table in enumerate(tables):
            parts, keys = [], []
            for column, of in enumerate(features.table_of):
                if of != number:
                    continue
                parts.append(batch.sample[:, column])
                keys.append(("sample", column))
                if first <= column < first + items:
                    for name, cells in (("behavior", batch.behavior),
                                        ("extra", extra)):
                        if cells is not None:
                            parts.append(cells[:, column - first])
                            keys.append((name, column))
            wanted = torch.from_numpy(np.maximum(np.concatenate(parts), 0))
            if not train:
                wanted = torch.where(table.seen[wanted], wanted, 0)
            rows, inverse = torch.unique(wanted, return_inverse=True)
            leaf = table.weight[rows]
            leaf.requires_grad_(train)
            self.leaf[number], self.rows[number] = leaf, rows
            ends = np.cumsum([len(part) for part in parts])
            for key, part, end in zip(keys, parts, ends):
                self.place[key] = (number, inverse[end - len(part):end],
                                   part >= 0)

    def embed(self, name, group):
        """(N, width of the group): embeddings side by side; a multi-hot one
        is the mean of the rows that are there, or the unknown row."""
        sides = []
        for places in self.features.groups[group]:
            cells = [self.place[name, place] for place in places]
            if len(cells) == 1:
                number, where, _ = cells[0]
                sides.append(self.leaf[number][where])
                continue
            there = torch.from_numpy(
                np.stack([c[2] for c in cells], 1).astype(np.float32))
            there[:, 0] += (there.sum(1) == 0).float()
            number = cells[0][0]
            picked = self.leaf[number][torch.stack([c[1] for c in cells], 1)]
            sides.append((picked * there[:, :, None]).sum(1) /
                         there.sum(1, keepdim=True))
        return torch.cat(sides, 1)

    def apply(self, tables):
        for number, table in enumerate(tables):
            if self.leaf[number].grad is not None:
                table.apply(self.rows[number], self.leaf[number].grad)


# ---- parts of the models ----------------------------------------------------

def glorot(rows, columns, generator):
    limit = math.sqrt(6 / (rows + columns))
    made = (torch.rand(rows, columns, generator=generator) * 2 - 1) * limit
    return torch.nn.Parameter(made)


class Linear(torch.nn.Module):
    def __init__(self, rows, columns, generator, bias=0.0):
        super().__init__()
        self.weight = glorot(rows, columns, generator)
        self.bias = torch.nn.Parameter(torch.full((columns,), bias))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


class Affine(torch.nn.Module):
    """The code's batch normalization: mean 0, variance 1 for ever."""

    def __init__(self, width):
        super().__init__()
        self.gamma = torch.nn.Parameter(torch.ones(width))
        self.beta = torch.nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return self.gamma * x / math.sqrt(1 + 1e-3) + self.beta


class Dice(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.alpha = torch.nn.Parameter(torch.zeros(width))
        self.mean, self.variance = torch.zeros(width), torch.ones(width)

    def forward(self, x):
        mean, variance = self.mean, self.variance
        if self.training:
            mean = x.mean(0)
            variance = ((x - mean)**2).mean(0)
            for moving, now in ((self.mean, mean), (self.variance, variance)):
                moving.mul_(MOMENTUM).add_(now.detach(), alpha=1 - MOMENTUM)
        p = torch.sigmoid((x - mean) / torch.sqrt(variance + 1e-8))
        return p * x + self.alpha * (1 - p) * x


class Unit(torch.nn.Module):
    """Activation unit: score of each (query, key) pair."""

    def __init__(self, width, generator):
        super().__init__()
        self.layers = torch.nn.ModuleList((
            Linear(4 * width, 80, generator), Linear(80, 40, generator),
            Linear(40, 1, generator)))

    def forward(self, query, key):
        x = torch.cat((query, key, query - key, query * key), 1)
        x = torch.sigmoid(self.layers[0](x))
        return self.layers[2](torch.sigmoid(self.layers[1](x)))[:, 0]


class Steps:
    """Sequences by length, longest first, so that step t works on a prefix:
    cell[t] (n_t) are the cells at time t, row[t] the sequences."""

    def __init__(self, begin, lengths):
        self.order = np.argsort(-lengths, kind="stable")
        ordered = lengths[self.order]
        self.at = begin[self.order]
        longest = int(ordered[0]) if len(ordered) else 0
        self.active = [int(np.searchsorted(-ordered, -t, "left"))
                       for t in range(longest)]


class Gru(torch.nn.Module):
    """Reset before the matrix product; u keeps."""

    def __init__(self, width, hidden, generator):
        super().__init__()
        self.hidden, self.width = hidden, width
        self.gates = Linear(width + hidden, 2 * hidden, generator, 1.0)
        self.candidate = Linear(width + hidden, hidden, generator)

    def inputs(self, x):
        """The inputs' part of all products at once."""
        return torch.cat((x @ self.gates.weight[:self.width],
                          x @ self.candidate.weight[:self.width]), 1)

    def step(self, products, state, attention=None):
        h = self.hidden
        gates = torch.sigmoid(torch.addmm(
            products[:, :2 * h] + self.gates.bias, state,
            self.gates.weight[self.width:]))
        reset, keep = gates[:, :h], gates[:, h:]
        candidate = torch.tanh(torch.addmm(
            products[:, 2 * h:] + self.candidate.bias, reset * state,
            self.candidate.weight[self.width:]))
        if attention is not None:  # paper: update gate z = 1 - keep, a z
            keep = 1 - attention[:, None] * (1 - keep)
        return keep * state + (1 - keep) * candidate

    def run(self, products, cells_of, steps, attention=None):
        """cells_of(sequences, t) -> rows of products and attention. Returns
        (final states by sequence, all states and their cells)."""
        count = len(steps.order)
        state = torch.zeros(count, self.hidden)
        states, cells, done = [], [], []
        for t, active in enumerate(steps.active):
            if active < len(state):
                done.append(state[active:])
                state = state[:active]
            source, cell = cells_of(steps.order[:active], t)
            state = self.step(products[source], state,
                              None if attention is None else attention[cell])
            states.append(state)
            cells.append(cell)
        final = torch.cat([state] + done[::-1])
        back = torch.from_numpy(np.argsort(steps.order))
        return final[back], states, cells


# ---- models -----------------------------------------------------------------

class Model(torch.nn.Module):
    def __init__(self, kind, features, generator):
        super().__init__()
        self.kind = kind
        item = features.width(ITEM)
        x = features.width(PROFILE) + features.width(CONTEXT) + 4 * item
        self.affine = Affine(x)
        self.mlp = torch.nn.ModuleList((
            Linear(x, 200, generator), Linear(200, 80, generator),
            Linear(80, 2, generator)))
        self.dice = torch.nn.ModuleList((Dice(200), Dice(80)))
        self.unit = Unit(item, generator)
        if kind == "dien":
            self.query = Linear(item, item, generator)
            self.slope = torch.nn.Parameter(torch.full((item,), 0.1))
            self.extractor = Gru(item, item, generator)
            self.evolution = Gru(item, item, generator)
            self.auxiliary = torch.nn.ModuleList((
                Affine(2 * item), Linear(2 * item, 100, generator),
                Linear(100, 50, generator), Linear(50, 2, generator)))

    def forward(self, rows, batch, left=None):
        """(B) logits, and the auxiliary loss where asked for (`left`: the
        cells that have a negative)."""
        item = rows.embed("sample", ITEM)
        behavior = rows.embed("behavior", ITEM)
        pair_sample = torch.from_numpy(batch.pair_sample)
        pair_behavior = torch.from_numpy(batch.pair_behavior)
        pooled = torch.zeros_like(item).index_add(
            0, pair_sample, behavior[pair_behavior])
        loss = None
        if self.kind == "din":
            weight = self.unit(item[pair_sample], behavior[pair_behavior])
            interest = torch.zeros_like(item).index_add(
                0, pair_sample, weight[:, None] * behavior[pair_behavior])
        else:
            interest, loss = self._evolve(rows, batch, item, behavior,
                                          pair_sample, pair_behavior, left)
        x = self.affine(torch.cat((
            rows.embed("sample", PROFILE), item, rows.embed("sample", CONTEXT),
            pooled, item * pooled, interest), 1))
        for layer, dice in zip(self.mlp, self.dice):
            x = dice(layer(x))
        logits = self.mlp[2](x)
        return logits[:, 0] - logits[:, 1], loss

    def _evolve(self, rows, batch, item, behavior, pair_sample, pair_behavior,
                left):
        # Extractor, once a group.
        begin = batch.begin[:-1]

        def of_group(groups, t):
            cells = torch.from_numpy(begin[groups] + t)
            return cells, cells
        _, states, cells = self.extractor.run(
            self.extractor.inputs(behavior), of_group,
            Steps(begin, batch.lengths))
        if not states:
            return torch.zeros_like(item), None
        order = torch.argsort(torch.cat(cells))
        states = torch.cat(states)[order]
        loss = None if left is None else self._auxiliary(
            rows, batch, behavior, states, left)
        # Attention over the states of each sample.
        query = F.prelu(self.query(item), self.slope)
        score = self.unit(query[pair_sample], states[pair_behavior])
        most = torch.full((len(item),), -math.inf).scatter_reduce(
            0, pair_sample, score.detach(), "amax")
        weight = torch.exp(score - most[pair_sample])
        total = torch.zeros(len(item)).index_add(0, pair_sample, weight)
        weight = weight / total[pair_sample]
        # Evolution, once a sample; the states' products once a group.
        pair_begin = np.cumsum(batch.length) - batch.length
        behavior_begin = batch.begin[batch.group]

        def of_sample(samples, t):
            return (torch.from_numpy(behavior_begin[samples] + t),
                    torch.from_numpy(pair_begin[samples] + t))
        final, _, _ = self.evolution.run(
            self.evolution.inputs(states), of_sample,
            Steps(pair_begin, batch.length), weight)
        return final, loss

    def _auxiliary(self, rows, batch, behavior, states, left):
        """left (C') cells t >= 1 with a negative, in order of `extra`."""
        negative = rows.embed("extra", ITEM)
        now, before = torch.from_numpy(left), torch.from_numpy(left - 1)
        group = np.searchsorted(batch.begin, left, "right") - 1
        weight = torch.from_numpy(batch.weights[group].astype(np.float32))

        def logit(target):
            x = self.auxiliary[0](torch.cat((states[before], target), 1))
            x = torch.sigmoid(self.auxiliary[1](x))
            x = self.auxiliary[3](torch.sigmoid(self.auxiliary[2](x)))
            return x[:, 0] - x[:, 1]
        cell = F.softplus(-logit(behavior[now])) + F.softplus(logit(negative))
        return (weight * cell).sum() / weight.sum()


# ---- negatives --------------------------------------------------------------

class Negatives:
    """Items of recent positives, never one of the user's sequence."""

    def __init__(self, features, seed):
        items = features.groups[ITEM]
        self.columns = [place for places in items for place in places]
        self.first = features.item_first
        self.pool = np.zeros((POOL, len(self.columns)), np.int64)
        self.count = 0
        self.rng = np.random.default_rng(seed)

    def draw(self, batch):
        """(cells, their negatives), or None."""
        cells = np.setdiff1d(np.arange(len(batch.behavior)),
                             batch.begin[:-1])
        size = min(self.count, POOL)
        if size < POOL_LEAST or not len(cells):
            return None
        group = np.searchsorted(batch.begin, cells, "right") - 1
        own = {g: set(batch.behavior[batch.begin[g]:batch.begin[g + 1],
                                     0].tolist()) for g in set(group.tolist())}
        drawn = self.rng.integers(0, size, (len(cells), TRIES))
        chosen = np.full(len(cells), -1)
        names = self.pool[:, 0]
        for i, (g, tries) in enumerate(zip(group.tolist(), drawn)):
            for one in tries:
                if int(names[one]) not in own[g]:
                    chosen[i] = one
                    break
        kept = chosen >= 0
        return (cells[kept], self.pool[chosen[kept]]) if kept.any() else None

    def add(self, batch):
        positive = batch.sample[batch.label.numpy() == 1][:, self.columns]
        where = (self.count + np.arange(len(positive))) % POOL
        self.pool[where] = positive
        self.count += len(positive)


# ---- the run ----------------------------------------------------------------

class Trainer:
    def __init__(self, kind, columns, seed):
        generator = torch.Generator().manual_seed(seed)
        self.columns, self.kind = columns, kind
        self.features = Features(columns)
        self.tables = [Table(rows, dimension, generator) for rows, dimension
                       in zip(self.features.sizes, self.features.dimensions)]
        self.model = Model(kind, self.features, generator)
        self.dense = Dense(self.model.parameters())
        self.negatives = Negatives(self.features, seed)

    def predict(self, batch):
        self.model.eval()
        with torch.no_grad():
            rows = Rows(self.tables, self.features, batch, None, False)
            return torch.sigmoid(self.model(rows, batch)[0]).numpy()

    def train(self, batch):
        self.model.train()
        drawn = self.negatives.draw(batch) if self.kind == "dien" else None
        left, extra = drawn or (None, None)
        rows = Rows(self.tables, self.features, batch, extra, True)
        logit, auxiliary = self.model(rows, batch, left)
        loss = F.binary_cross_entropy_with_logits(
            logit, batch.label, reduction="sum") / BATCH
        if auxiliary is not None:
            loss = loss + AUXILIARY_WEIGHT * auxiliary
        loss.backward()
        with torch.no_grad():
            rows.apply(self.tables)
        self.dense.apply()
        self.negatives.add(batch)

    def run(self, limit):
        begun = said = time.monotonic()
        out = np.full(self.columns.samples, np.nan, np.float32)
        for index in range(len(self.columns.batches)):
            batch = Batch(self.columns, self.features, index)
            if batch.first >= limit:
                break
            out[batch.first:batch.end] = self.predict(batch)
            self.train(batch)
            if time.monotonic() > said + 1:
                said = time.monotonic()
                print(batch.end, flush=True)
        return out, time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--kind", choices=("din", "dien"), required=True)
    parser.add_argument("--columns", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=2**62,
                        help="only the samples before this position")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trainer = Trainer(arguments.kind, Columns(arguments.columns),
                      arguments.seed)
    out, seconds = trainer.run(arguments.limit)
    out.tofile(arguments.output + ".new")
    os.rename(arguments.output + ".new", arguments.output)
    print(json.dumps({"samples": int(np.isfinite(out).sum()), "rejected": 0,
                      "seconds": seconds, "dense_trained": sum(
                          p.numel() for p in trainer.model.parameters())}))


if __name__ == "__main__":
    main()
