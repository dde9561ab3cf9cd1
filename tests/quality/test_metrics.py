#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""metrics.py against definitions written as loops."""

import math
import unittest

import numpy as np

import metrics


def pairs(label, score):
    """Share of (positive, negative) pairs in order; ties count half."""
    won = total = 0
    for y, s in zip(label, score):
        for z, t in zip(label, score):
            if y == 1 and z == 0:
                total += 1
                won += 1 if s > t else 0.5 if s == t else 0
    return won / total if total else math.nan


def by_users(label, score, user):
    above = below = 0
    for one in set(user.tolist()):
        mine = user == one
        value = pairs(label[mine], score[mine])
        if not math.isnan(value):
            above += value * mine.sum()
            below += mine.sum()
    return above / below if below else math.nan


class Metrics(unittest.TestCase):
    def draw(self, seed, size, levels):
        rng = np.random.default_rng(seed)
        return (rng.integers(0, 2, size).astype(np.uint8),
                (rng.integers(0, levels, size) / levels).astype(np.float32),
                rng.integers(0, 7, size).astype(np.uint64) << np.uint64(60))

    def test_auc_is_the_share_of_pairs(self):
        for seed in range(40):
            label, score, _ = self.draw(seed, 3 + seed, 2 + seed)
            np.testing.assert_allclose(metrics.auc(label, score),
                                       pairs(label, score), rtol=1e-12)

    def test_user_auc_weighs_by_impressions(self):
        for seed in range(40):
            label, score, user = self.draw(seed, 60, 5 + seed)
            np.testing.assert_allclose(
                metrics.user_auc(label, score, user),
                by_users(label, score, user), rtol=1e-12)

    def test_one_class_or_nothing_is_undefined(self):
        for label in ([], [1], [0, 0]):
            label = np.array(label, np.uint8)
            score = np.linspace(0, 1, len(label), dtype=np.float32)
            user = np.zeros(len(label), np.uint64)
            self.assertTrue(math.isnan(metrics.auc(label, score)))
            self.assertTrue(math.isnan(metrics.user_auc(label, score, user)))

    def test_log_loss(self):
        label = np.array([1, 0, 1, 0], np.uint8)
        p = np.array([0.9, 0.2, 0.5, 0.5], np.float32)
        want = -(math.log(0.9) + math.log(0.8) + 2 * math.log(0.5)) / 4
        self.assertAlmostEqual(metrics.log_loss(label, p), want, places=6)
        sure = metrics.log_loss(np.array([1], np.uint8),
                                np.array([0], np.float32))
        self.assertAlmostEqual(sure, -math.log(metrics.SMALLEST))

    def test_rela_impr(self):
        self.assertAlmostEqual(metrics.rela_impr(0.7, 0.6), 100)
        self.assertAlmostEqual(metrics.rela_impr(0.55, 0.6), -50)

    def test_slices_and_missing_predictions(self):
        label, p, user = self.draw(1, 50, 40)
        length = np.arange(50) % 25
        p[3] = np.nan
        event_ms = np.repeat(np.array([10, 11]), 25) * metrics.DAY_MS + 5
        found = metrics.measure_slices(label, p, user, event_ms, length)
        self.assertEqual(sorted(found["days"]), ["10", "11"])
        self.assertEqual(found["days"]["10"]["missing"], 1)
        self.assertEqual(found["days"]["11"]["samples"], 25)
        self.assertEqual(found["lengths"]["2-4"]["samples"], 5)
        self.assertEqual(found["lengths"]["20-49"]["samples"], 10)
        first = np.arange(25) != 3
        self.assertAlmostEqual(found["days"]["10"]["auc"],
                               pairs(label[:25][first], p[:25][first]))
        self.assertEqual(found["all"]["samples"], 49)


if __name__ == "__main__":
    unittest.main()
