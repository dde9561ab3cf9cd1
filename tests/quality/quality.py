#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The quality report; run.sh says how to call it. Makes the data sets, trains
the grid within the budget, writes report.md and its plots, prints a table and
one JSON object. Exit status 0 also where the budget left runs out (they are
named), 1 where a model failed, 77 where no data set is here."""

import argparse
import importlib.util
import json
import os
import signal
import sys
import time

import grid
import report
from runs import Job, Pool, Tools
from samples import HERE, SOURCES, cached, prepare

TOP = os.path.normpath(os.path.join(HERE, "..", ".."))
# To make the columns of all users, and to measure their runs.
FULL_SECONDS = 600


class DataSet:
    def __init__(self, key, source, share, columns):
        self.key, self.source = key, source
        self.share, self.columns = share, columns


class Quality:
    def __init__(self, arguments):
        self.arguments = arguments
        self.begun = time.monotonic()
        self.deadline = self.begun + 60 * arguments.budget_minutes
        self.tools = Tools(arguments.build)
        self.datasets, self.jobs = [], []
        self.skipped, self.left_out, self.failed = [], [], []
        if not arguments.no_torch and \
                importlib.util.find_spec("torch") is None:
            arguments.no_torch = True
            self.skipped.append("the twins in PyTorch: it is not installed "
                                "(configs/install.sh --quality)")
        self.said = 0

    def say(self, text, progress=False):
        """Progress stays in one line of a terminal."""
        if progress and not sys.stderr.isatty():
            if time.monotonic() < self.said + 30:
                return
            self.said = time.monotonic()
        end = "" if progress and sys.stderr.isatty() else "\n"
        lead = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{lead}quality: {text}", end=end, file=sys.stderr, flush=True)

    def dataset(self, key, name, share):
        """None where its data are not here."""
        source = SOURCES[name]
        if not source.there():
            self.say(f"SKIPPED: {source.title}: the data are not here")
            self.skipped.append(f"{source.title}: the data are not here")
            return None
        columns = prepare(source, share, self.arguments.cache, self.tools,
                          self.say)
        self.datasets.append(DataSet(key, source, share, columns))
        return self.datasets[-1]

    def train(self, jobs, deadline):
        pool = Pool(self.arguments.workers, deadline, self.say)
        pool.run(jobs)
        self.left_out += [job.run for job in pool.left_out]
        self.failed += pool.failed

    def jobs_of(self, dataset, runs):
        only = self.arguments.models
        jobs = [Job(run, dataset.source, dataset.columns,
                    self.arguments.cache, self.tools)
                for run in runs if not only or run.model.name in only]
        self.jobs += jobs
        return jobs

    def plan(self, globo, movielens):
        """In the order of importance."""
        seeds = grid.SEEDS[:self.arguments.seeds]
        jobs = []
        if globo:
            jobs += self.jobs_of(globo, grid.ladder("globo", seeds, True))
        if movielens:
            jobs += self.jobs_of(movielens, grid.ladder("movielens", seeds))
        if globo:
            item = globo.source.item
            jobs += self.jobs_of(globo, grid.runs(
                "globo", grid.EXTRA[:1], seeds))
            jobs += self.jobs_of(globo, grid.runs(
                "globo", grid.regularizers(item) + grid.DIN_GRID, seeds[:1]))
            if not self.arguments.no_torch:
                jobs += self.jobs_of(globo, grid.runs(
                    "globo", grid.TWINS, seeds[:1]))
            jobs += self.jobs_of(globo, grid.runs(
                "globo", grid.regularizers(item) + grid.DIN_GRID, seeds[1:]))
            for seed in seeds:
                jobs += self.jobs_of(globo, grid.runs(
                    "globo", grid.EXTRA[1:], [seed]))
        return jobs

    def all_users(self):
        full = self.arguments.full
        if self.arguments.users == 100:
            return
        made = cached(SOURCES["globo"], 100, self.arguments.cache, self.tools)
        if not full and not made and \
                time.monotonic() + FULL_SECONDS > self.deadline:
            self.left_out += grid.runs("globo_all", grid.PAPERS_ORDER,
                                       grid.SEEDS[:1])
            return
        dataset = self.dataset("globo_all", "globo", 100)
        if dataset:
            jobs = self.jobs_of(dataset, grid.runs(
                "globo_all", grid.PAPERS_ORDER, grid.SEEDS[:1]))
            self.train(jobs, float("inf") if full else self.deadline)

    def main(self):
        globo = self.dataset("globo", "globo", self.arguments.users)
        movielens = self.dataset("movielens", "movielens", 100)
        if not self.datasets:
            return 77
        self.train(self.plan(globo, movielens), self.deadline)
        if globo:
            self.all_users()
        return self.write()

    # ---- results ---------------------------------------------------------

    def head(self, minutes):
        arguments = self.arguments
        described = self.jobs[0].described if self.jobs else {}
        text = [
            "# Quality on real streams\n\n",
            "Made by `tests/quality/run.sh`: recorded clicks -> impressions "
            "with popularity-proportional others (tests/adapters) -> the "
            "daemon's decoder, joins and journal -> the daemon's trainer, "
            "which predicts each batch before it trains it. "
            f"Arithmetic {described.get('arithmetic', '?')}; seeds "
            f"{', '.join(map(str, grid.SEEDS[:arguments.seeds]))}; "
            f"{minutes:.1f} minutes of {arguments.budget_minutes} for what "
            "was not cached, "
            f"{arguments.workers} processes of one thread.\n\n",
            "AUC by mid-ranks; GAUC: each user's AUC weighted by impressions, "
            "users with one class skipped; RelaImpr = ((AUC - 0.5) / (AUC of "
            "BaseModel - 0.5) - 1) x 100 %. A spread (±) is half the distance "
            "between the seeds.\n"]
        for title in self.skipped:
            text.append(f"\nSKIPPED: {title}.\n")
        if self.left_out:
            names = ", ".join(f"{r.data} {r.model.name} seed {r.seed}"
                              for r in self.left_out)
            text.append("\nMISSING, for the budget did not suffice (a "
                        "further call goes on): " + names + ".\n")
        for job, error in self.failed:
            text.append(f"\nFAILED: {job.run.data} {job.run.model.name}: "
                        f"{error}\n")
        return "".join(text)

    def write(self):
        results = report.Results(self.jobs)
        output = self.arguments.output
        os.makedirs(output, exist_ok=True)
        minutes = (time.monotonic() - self.begun) / 60
        text = self.head(minutes) + "".join(
            report.dataset_section(results, dataset, output)
            for dataset in self.datasets)
        findings = os.path.join(HERE, "findings.md")
        if os.path.exists(findings):
            with open(findings, encoding="utf-8") as file:
                text += "\n" + file.read()
        path = os.path.join(output, "report.md")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.say(f"report: {path}")
        print(report.people(results, self.datasets))
        print(json.dumps({
            **{d.key: report.figures(results, d) for d in self.datasets},
            "minutes": round(minutes, 2), "skipped": self.skipped,
            "missing": [f"{r.data}.{r.model.name}.{r.seed}"
                        for r in self.left_out],
            "failed": [f"{j.run.data}.{j.run.model.name}.{j.run.seed}"
                       for j, _ in self.failed], "report": path}))
        return 1 if self.failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--build", default=os.path.join(
        TOP, "build", "release"), help="folder of the built programs")
    parser.add_argument("--output", default=os.path.join(
        TOP, "build", "quality"), help="folder for report.md and plots")
    parser.add_argument("--cache", help="folder of data sets and runs; "
                        "default: cache in the output folder")
    parser.add_argument("--users", type=int, default=10,
                        help="percent of Globo's users, by hash")
    parser.add_argument("--full", action="store_true",
                        help="BaseModel, DIN and DIEN of all users, however "
                        "long they take")
    parser.add_argument("--budget-minutes", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=2,
                        choices=range(1, len(grid.SEEDS) + 1))
    parser.add_argument("--workers", type=int,
                        default=min(2, os.cpu_count() or 1))
    parser.add_argument("--models", type=lambda text: text.split(","),
                        help="only these, by name, with commas between")
    parser.add_argument("--no-torch", action="store_true")
    arguments = parser.parse_args()
    arguments.build = os.path.abspath(arguments.build)
    arguments.output = os.path.abspath(arguments.output)
    arguments.cache = os.path.abspath(
        arguments.cache or os.path.join(arguments.output, "cache"))
    # So that the models in training end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(Quality(arguments).main())


if __name__ == "__main__":
    main()
