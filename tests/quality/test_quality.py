#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The quality report in short, on 1 % of Globo's users: LR, BaseModel and DIN
over the same samples.

1. Every sample has a prediction; none was rejected.
2. AUC and log loss of metrics.py are those that the trainer measured.
3. DIN is better than BaseModel, that one than LR, by margins far above what a
   seed changes; each trains to the same bits on every run.
4. Stopping at each day's border changes no bit, and a copy frozen there
   predicts the day worse than the model that goes on.
Exit status 77 where the data are absent.
  test_quality.py BUILD_FOLDER"""

import math
import sys
import tempfile

import numpy as np

import grid
from runs import Job, Tools
from samples import SOURCES, prepare

SHARE = 1
NAMES = ("lr", "base", "din")


def check(condition, text):
    if not condition:
        sys.exit(f"FAILED: {text}")


def say(text):
    print(text, flush=True)


def main():
    source = SOURCES["globo"]
    if not source.there():
        say("SKIPPED: the Globo clicks (shared/data/globo) are not here")
        return 77
    tools = Tools(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="interestd-quality-") as folder:
        columns = prepare(source, SHARE, folder, tools, say)
        say(f"{columns.samples} samples")
        models = {model.name: model for model in grid.LADDER}

        def trained(name, borders=False):
            job = Job(grid.Run("globo", models[name], 1, borders), source,
                      columns, folder, tools)
            job.execute()
            return job, job.result()
        jobs = {name: trained(name) for name in NAMES}
        for name, (job, result) in jobs.items():
            ours = result["predictions"]["all"]
            say(f"{name:5} AUC {ours['auc']:.4f}  GAUC {ours['user_auc']:.4f}"
                f"  log loss {ours['log_loss']:.4f}")
            check(result["samples"] == columns.samples and
                  result["rejected"] == 0 and ours["missing"] == 0,
                  f"{name}: not every sample was trained: {result}")
            check(math.isclose(ours["auc"], result["auc"], abs_tol=2e-4),
                  f"{name}: AUC {ours['auc']}, trainer's {result['auc']}")
            check(math.isclose(ours["log_loss"], result["log_loss"],
                               abs_tol=2e-4),
                  f"{name}: log loss {ours['log_loss']}, trainer's "
                  f"{result['log_loss']}")
        auc = {name: result["predictions"]["all"]["auc"]
               for name, (_, result) in jobs.items()}
        check(auc["base"] > auc["lr"] + 0.03, f"BaseModel and LR: {auc}")
        check(auc["din"] > auc["base"] + 0.003, f"DIN and BaseModel: {auc}")
        stopped, result = trained("din", True)
        check(np.array_equal(stopped.predictions(),
                             jobs["din"][0].predictions()),
              "DIN stopped at each day's border predicts other bits")
        gain = result["compared"]["all"]["auc"] - result["frozen"]["all"]["auc"]
        say(f"a copy frozen at the day's beginning loses {gain:.4f} AUC")
        check(gain > 0.01, f"freshness is worth {gain} AUC")
    return 0


if __name__ == "__main__":
    sys.exit(main())
