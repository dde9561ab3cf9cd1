# SPDX-License-Identifier: Apache-2.0
"""Update rules and regularizers in float64, for dense tensors and rows.

A row is touched where a cell of the batch points at it: of a sample, of a
behavior, of an auxiliary negative that is looked at, of a cross. Regularizers
act on the rows of embedding tables; occurrences are cells of samples and
behaviors, a history's cells counted once per group.
"""
import torch

from model import ABSENT, cross_rows


def adam(lr, state, w, g, step):
    """step: the number of updates of each element, this one included."""
    m, v = state
    m.mul_(0.9).add_(0.1 * g)
    v.mul_(0.999).add_(0.001 * g * g)
    rate = lr * torch.sqrt(1 - 0.999 ** step) / (1 - 0.9 ** step)
    w.sub_(rate * m / (torch.sqrt(v) + 1e-8))


def adagrad(lr, state, w, g, row_wise):
    n, = state
    n.add_((g * g).mean(-1, keepdim=True).expand_as(g) if row_wise else g * g)
    w.sub_(lr * g / (torch.sqrt(n) + 1e-10))


def ftrl(case, state, w, g):
    z, n = state
    alpha, beta = case["ftrl_alpha"], case["ftrl_beta"]
    l1, l2 = case["ftrl_l1"], case["ftrl_l2"]
    sigma = (torch.sqrt(n + g * g) - torch.sqrt(n)) / alpha
    z.add_(g - sigma * w)
    n.add_(g * g)
    new = -(z - torch.sign(z) * l1) / ((beta + torch.sqrt(n)) / alpha + l2)
    w.copy_(torch.where(z.abs() <= l1, torch.zeros_like(w), new))


class Optimizer:
    def __init__(self, case, shape):
        self.case, self.shape = case, shape
        self.steps, self.state, self.row_state = 0, {}, {}
        self.position = 0
        self.row_steps, self.counts = {}, {}

    def states(self, like):
        count = {"adam": 2, "adagrad": 1, "row_adagrad": 1, "ftrl": 2,
                 "sgd": 0}[self.case["optimizer"]]
        return [torch.zeros_like(like) for _ in range(count)]

    def update(self, state, w, g, step, rows):
        kind = self.case["optimizer"]
        decays = self.position // self.case["rate_decay_samples"]
        lr = self.case["learning_rate"] * self.case["rate_decay"] ** decays
        if kind == "adam":
            adam(lr, state, w, g, step)
        elif kind in ("adagrad", "row_adagrad"):
            adagrad(lr, state, w, g, rows and kind == "row_adagrad")
        elif kind == "ftrl":
            ftrl(self.case, state, w, g)
        else:
            w.sub_(lr * g)

    def cells(self, batch, name, table):
        """Rows of `table` that columns of index, history or negative hold."""
        found = []
        for group, features in self.shape.features.items():
            columns = self.shape.columns[group]
            for owner, places in features:
                for place in places if owner == table else []:
                    column = columns[place]
                    if name != "index":
                        if group != "item":
                            continue
                        column -= batch["item_first"]
                    found.append(batch[name][:, column])
        if not found:
            return torch.zeros(0, dtype=torch.int64)
        found = torch.cat(found)
        return found[found != ABSENT]

    def crosses(self, batch):
        first = self.shape.columns["item"][0]
        column, found = first - batch["item_first"], []
        for g in range(len(batch["group_begin"]) - 1):
            begin, end = batch["history_begin"][g:g + 2]
            for i in range(*batch["group_begin"][g:g + 2]):
                found.append(cross_rows(batch["history"][begin:end, column],
                                        batch["index"][i, first],
                                        batch["goods"]))
        return torch.cat(found)

    def regularize(self, table, w, g, occurrences):
        kind, strength = self.case["regularizer"], self.case["lambda"]
        counts = self.counts.setdefault(table, torch.zeros_like(occurrences))
        counts += occurrences
        there = (occurrences > 0).to(w.dtype)[:, None]
        share = 1 / counts.clamp(min=1)[:, None].to(w.dtype)
        if kind == "l2":
            g += strength * there * w
        elif kind == "mba":
            g += strength * there * share * w
        elif kind == "difacto":
            g += strength * occurrences[:, None].to(w.dtype) * share * w

    def step(self, w, g, rows, row_g, batch):
        self.steps += 1
        for key, gradient in g.items():
            state = self.state.setdefault(key, self.states(gradient))
            step = torch.tensor(float(self.steps), dtype=gradient.dtype)
            self.update(state, w[key], gradient, step, False)
        for table, gradient in row_g.items():
            self.step_rows(table, rows[table], gradient, batch)
        self.position += len(batch["label"])

    def step_rows(self, table, w, g, batch):
        if table == "cross":
            cells = self.crosses(batch)
        else:
            cells = torch.cat([self.cells(batch, "index", table),
                               self.cells(batch, "history", table)])
        occurrences = torch.bincount(cells, minlength=len(w))
        touched = occurrences > 0
        if self.case["auxiliary"] != "none":
            seen = self.cells(batch, "negative", table)
            touched |= torch.bincount(seen, minlength=len(w)) > 0
        if table != "cross":
            self.regularize(table, w, g, occurrences)
        if self.case["optimizer"] == "adam" and self.case["adam_every_row"]:
            touched[:] = True
        state = self.row_state.setdefault(table, self.states(g))
        steps = self.row_steps.setdefault(table, torch.zeros_like(w[:, :1]))
        steps[touched] += 1
        part = [x[touched] for x in state]
        moved = w[touched]
        self.update(part, moved, g[touched], steps[touched], True)
        w[touched] = moved
        for x, y in zip(state, part):
            x[touched] = y
