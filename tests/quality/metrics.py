# SPDX-License-Identifier: Apache-2.0
"""The metrics of the report, in numpy: log loss, AUC by mid-ranks, AUC of
each user weighted by impressions, RelaImpr. Not a number where undefined.

label (S) 0 or 1, score (S) anything that orders, user (S) ids."""

import numpy as np

DAY_MS = 86_400_000
LENGTHS = ((0, 0), (1, 1), (2, 4), (5, 9), (10, 19), (20, 49), (50, 1023))
SMALLEST = 1e-7  # of p and 1 - p in the log loss: float32 rounds to 0 and 1


def mid_ranks(group, score):
    """(order, rank): `order` sorts by group, then score; rank (S, in that
    order) counts from 1 in each group, equal scores share their mean."""
    order = np.lexsort((score, group))
    group, score = group[order], score[order]
    size = len(order)
    if size == 0:
        return order, np.zeros(0)
    new_group = np.r_[True, group[1:] != group[:-1]]
    new_tie = new_group | np.r_[True, score[1:] != score[:-1]]
    first = np.flatnonzero(new_tie)
    last = np.r_[first[1:], size] - 1
    tie = np.cumsum(new_tie) - 1
    group_first = np.flatnonzero(new_group)[np.cumsum(new_group) - 1]
    return order, (first[tie] + last[tie]) / 2 - group_first + 1


def auc_by_group(label, score, group):
    """(groups, AUC of each, its samples, its positives)."""
    order, rank = mid_ranks(group, score)
    label, group = label[order].astype(np.float64), group[order]
    if len(order) == 0:
        return group, np.zeros(0), np.zeros(0), np.zeros(0)
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    size = np.diff(np.r_[first, len(order)]).astype(np.float64)
    positives = np.add.reduceat(label, first)
    ranks = np.add.reduceat(rank * label, first)
    with np.errstate(invalid="ignore", divide="ignore"):
        auc = (ranks - positives * (positives + 1) / 2) / \
            (positives * (size - positives))
    return group[first], auc, size, positives


def auc(label, score):
    _, each, _, _ = auc_by_group(label, score, np.zeros(len(label), np.int8))
    return float(each[0]) if len(each) else float("nan")


def user_auc(label, score, user):
    """Users with one class are skipped (DIN paper, 6.3)."""
    _, each, size, positives = auc_by_group(label, score, user)
    both = (positives > 0) & (positives < size)
    weight = size[both].sum()
    return float((each[both] * size[both]).sum() / weight) if weight else \
        float("nan")


def log_loss(label, p):
    if len(label) == 0:
        return float("nan")
    p = np.clip(p.astype(np.float64), SMALLEST, 1 - SMALLEST)
    return float(-np.where(label == 1, np.log(p), np.log1p(-p)).mean())


def rela_impr(of_model, of_base):
    """Percent."""
    return ((of_model - 0.5) / (of_base - 0.5) - 1) * 100


def measure(label, p, user):
    """All of one slice. A prediction that is not a number (its batch was
    rejected) is left out and counted."""
    there = np.isfinite(p)
    missing = int(len(p) - there.sum())
    if missing:
        label, p, user = label[there], p[there], user[there]
    return {"samples": len(label), "missing": missing,
            "log_loss": log_loss(label, p), "auc": auc(label, p),
            "user_auc": user_auc(label, p, user)}


def measure_slices(label, p, user, event_ms, length, period_days=1):
    """{"all": .., "days": {"<day since 1970>": ..}, "lengths": {"2-4": ..}}:
    by day of the impression (or first day of a longer period) and by behaviors
    in the history."""
    def of(chosen):
        return measure(label[chosen], p[chosen], user[chosen])
    day = event_ms // DAY_MS // period_days * period_days
    return {"all": measure(label, p, user),
            "days": {str(d): of(day == d) for d in np.unique(day)},
            "lengths": {f"{low}-{high}": of((length >= low) & (length <= high))
                        for low, high in LENGTHS}}
