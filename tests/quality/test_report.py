#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The report's arithmetic on made-up results, and the columns' lengths on
files written by hand."""

import json
import math
import os
import tempfile
import unittest

import numpy as np

import grid
import report
from samples import Columns


class Job:
    def __init__(self, data, model, seed, auc, **more):
        self.run = grid.Run(data, model, seed)
        measured = {"auc": auc, "user_auc": auc, "log_loss": 1 - auc,
                    "samples": 10}
        self.found = {"predictions": {"all": measured,
                                      "days": {"17440": measured},
                                      "lengths": {"0-0": measured}},
                      "samples": 10, "seconds": 2.0, "rejected": 0, **more}

    def done(self):
        return self.found is not None

    def result(self):
        return self.found


MODELS = {model.name: model for model in (*grid.LADDER, *grid.TWINS)}


def results(**aucs):
    """name -> AUC of seed 1, 2, ..; None: not known."""
    return report.Results([
        Job("globo", MODELS[name], seed, auc)
        for name, values in aucs.items()
        for seed, auc in enumerate(values, 1) if auc is not None])


class Report(unittest.TestCase):
    def test_rela_impr_over_the_seeds_that_both_have(self):
        known = results(base=[0.6, 0.7], din=[0.65, None])
        self.assertAlmostEqual(known.rela_impr("globo", "din"), 50)
        alone = results(din=[0.65])
        self.assertTrue(math.isnan(alone.rela_impr("globo", "din")))

    def verdict(self, base, din):
        found = report.claims(results(base=base, din=din), "globo")
        return {claim: verdict for claim, _, verdict in found}[
            "BaseModel < DIN"]

    def test_verdicts(self):
        self.assertEqual(self.verdict([0.6, 0.6], [0.61, 0.62]),
                         "shows in every seed")
        self.assertEqual(self.verdict([0.6, 0.6], [0.59, 0.65]),
                         "in the mean only")
        self.assertEqual(self.verdict([0.6, 0.6], [0.61, 0.5]),
                         "does NOT show")
        self.assertEqual(self.verdict([0.6], [0.61]), "shows")
        self.assertEqual(report.claims(results(base=[0.6]), "globo"), [])

    def test_a_twin_is_compared_over_common_seeds(self):
        known = results(din=[0.70, 0.72], din_torch=[0.71])
        (kind, ours, theirs, difference, seeds), = \
            report.twins(known, "globo")
        self.assertEqual((kind, ours, theirs, seeds),
                         ("din", 0.70, 0.71, [1]))
        self.assertAlmostEqual(difference, 0.01)
        self.assertIn("NO", report.twin_section(known, "globo"))

    def test_freshness_leaves_out_what_is_no_day(self):
        def days(**aucs):
            return {"days": {day.strip("d"): {
                "auc": auc, "log_loss": 0, "samples": samples}
                for day, (auc, samples) in aucs.items()}}
        job = Job("globo", MODELS["din"], 1, 0.7,
                  compared=days(d1=(0.9, 2), d2=(0.7, 90)),
                  frozen=days(d1=(0.1, 2), d2=(0.6, 90)))
        job.found["predictions"]["days"] = days(d1=(0.9, 100),
                                                d2=(0.7, 100))["days"]
        found = report.freshness(report.Results([job]), "globo")["din"]
        self.assertEqual([day for day, _, _ in found], ["2"])
        self.assertAlmostEqual(report.freshness_mean(found)["auc"], 0.1)


class Lengths(unittest.TestCase):
    def test_of_two_batches(self):
        """Groups of 2 and 1 samples with 3 and 0 behaviors; then of 1 and 3
        with 1 and 4."""
        field = {"name": "item", "group": 1, "table": 0, "continues": False}
        columns = {
            "batches": np.array([(0, 3, 0, 0, 0, 0, 2, 3),
                                 (3, 7, 0, 0, 3, 3, 2, 5)], np.dtype([
                                     (n, "<u8") for n in "abcdef"] +
                                     [("g", "<u4"), ("h", "<u4")])),
            "ids": np.arange(7, dtype="<u8"),
            "user": np.zeros(7, "<u8"), "event_ms": np.array(
                [0, 1, 2, 86_400_000, 86_400_001, 2, 86_400_002], "<i8"),
            "label": np.zeros(7, "u1"),
            "group_begin": np.array([0, 2, 3, 0, 1, 4], "<u4"),
            "history_begin": np.array([0, 3, 3, 0, 1, 5], "<u4"),
            "history": np.zeros(8, "<u8")}
        with tempfile.TemporaryDirectory() as folder:
            for name, values in columns.items():
                values.tofile(os.path.join(folder, name))
            with open(os.path.join(folder, "made.json"), "w") as file:
                json.dump({"fields": [field]}, file)
            made = Columns(folder)
            self.assertEqual(made.lengths().tolist(), [3, 3, 0, 1, 4, 4, 4])
            self.assertEqual(made.day_borders(), [3])
            self.assertEqual(made.history.shape, (8, 1))


if __name__ == "__main__":
    unittest.main()
