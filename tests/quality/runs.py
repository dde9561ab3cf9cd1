# SPDX-License-Identifier: Apache-2.0
"""Trains the grid's models, a process each, two at a time, and keeps what
they predicted: a run that is known is not repeated, one that was cut off
begins anew. Results are keyed by the model's whole configuration, the learner
that was linked, the arithmetic, the data and the seed."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np

import metrics
from samples import HERE, digest

NICE = 5


class Tools:
    """The built programs."""

    def __init__(self, build):
        self.build = build
        self.fill = os.path.join(build, "tests", "quality", "quality_fill")
        self.learn = os.path.join(build, "tests", "quality", "quality_learn")
        self.learner = digest(("file", self.archive("learner")))
        self.twin = digest(("file", os.path.join(HERE, "twin.py")))

    def archive(self, folder):
        return os.path.join(self.build, folder, f"lib{folder}.a")

    def describe(self, config, sets):
        done = subprocess.run(
            [self.learn, "--config", config, "--describe", *sets],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return json.loads(done.stdout)


def _sets(model, seed):
    pairs = [("profile", "streaming"), *model.settings, ("threads", "1"),
             ("seed", seed)]
    return [x for key, value in pairs
            for x in ("--set", f"learner.{key}={value}")]


class Job:
    """A run with its place in the cache."""

    def __init__(self, run, source, columns, cache, tools):
        self.run, self.source, self.columns = run, source, columns
        self.tools = tools
        self.sets = _sets(run.model, run.seed)
        self.described = tools.describe(source.config, self.sets)
        self.folder = os.path.join(cache, "runs", "-".join((
            run.data, run.model.name, str(run.seed), digest(
                self.described["config_hash"], self.described["arithmetic"],
                ("file", source.config), *self.sets,
                tools.twin if run.model.twin else tools.learner,
                os.path.basename(columns.folder), run.seed, run.borders))))
        self.position, self.begun, self.process = 0, None, None

    def path(self, name):
        return os.path.join(self.folder, name)

    def done(self):
        return os.path.exists(self.path("result.json"))

    def result(self):
        with open(self.path("result.json"), encoding="utf-8") as file:
            return json.load(file)

    def predictions(self, name="predictions"):
        return np.fromfile(self.path(name), "<f4")

    def command(self):
        common = ["--columns", self.columns.folder, "--output",
                  self.path("predictions")]
        if self.run.model.twin:
            return [sys.executable, "-B", os.path.join(HERE, "twin.py"),
                    "--kind", self.run.model.kind, "--seed",
                    str(self.run.seed), *common]
        command = [self.tools.learn, "--config", self.source.config,
                   *common, "--folder", self.path("checkpoints"), *self.sets]
        if self.run.borders:
            borders = ",".join(map(str, self.columns.day_borders()))
            command += ["--borders", borders, "--frozen", self.path("frozen")]
        return command

    def execute(self):
        """Any thread. RuntimeError where the model did not train. Waits where
        another report trains the same."""
        os.makedirs(os.path.dirname(self.folder), exist_ok=True)
        with open(self.folder + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.done():
                self._train()

    def _train(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.begun = time.monotonic()
        with open(self.path("log"), "w+", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=subprocess.PIPE, stderr=log, text=True,
                preexec_fn=lambda: os.nice(NICE),
                env={**os.environ, "OMP_NUM_THREADS": "1"})
            last = "{}"
            for line in self.process.stdout:
                last = line
                if line.strip().isdigit():
                    self.position = int(line)
            status = self.process.wait()
            log.seek(0)
            text = log.read().strip()
        if status:
            raise RuntimeError(f"{self.run.model.name}, seed {self.run.seed}: "
                               f"exit status {status}: {text[-500:]}")
        result = json.loads(last)
        result["wall_seconds"] = time.monotonic() - self.begun
        result["log"] = text[-2000:]
        result["described"] = self.described
        self._measure(result)
        with open(self.path("result.json.new"), "w", encoding="utf-8") as file:
            json.dump(result, file)
        os.rename(self.path("result.json.new"), self.path("result.json"))

    def _measure(self, result):
        c = self.columns

        def measure(p):
            return metrics.measure_slices(c.label, p, c.user, c.event_ms,
                                          c.lengths(),
                                          self.source.period_days)
        for name in ("predictions", "frozen"):
            if os.path.exists(self.path(name)):
                p = self.predictions(name)
                result[name] = measure(p)
                if name == "frozen":
                    # The same samples of the model that went on.
                    went_on = self.predictions()
                    went_on[~np.isfinite(p)] = np.nan
                    result["compared"] = measure(went_on)


class Pool:
    """Runs jobs in order, `workers` at a time, none that would probably not
    end before the deadline."""

    def __init__(self, workers, deadline, say):
        self.workers, self.deadline, self.say = workers, deadline, say
        self.lock = threading.Lock()
        self.speed = {}  # (data, model kind, twin): samples a second
        self.waiting, self.active = [], []
        self.left_out, self.failed = [], []

    def _cost(self, job):
        model = job.run.model
        known = self.speed.get((job.run.data, model.kind, model.twin))
        factor = 1.6 if job.run.borders else 1
        return factor * job.columns.samples / (known or model.speed)

    def _learn_speed(self, job):
        seconds = job.result()["wall_seconds"]
        model = job.run.model
        if not job.run.borders and seconds > 0:
            self.speed[job.run.data, model.kind, model.twin] = \
                job.columns.samples / seconds

    def run(self, jobs):
        """True where all are done."""
        for job in jobs:
            if job.done():
                self._learn_speed(job)
        self.waiting = [job for job in jobs if not job.done()]
        self.total = len(self.waiting)
        threads = [threading.Thread(target=self._work, daemon=True)
                   for _ in range(self.workers)]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                self._progress()
                for thread in threads:
                    thread.join(2 / len(threads))
        except BaseException:
            with self.lock:
                self.waiting = []
                for job in self.active:
                    if job.process:
                        job.process.terminate()
            raise
        return not self.left_out and not self.failed

    def _next(self):
        with self.lock:
            while self.waiting:
                job = self.waiting.pop(0)
                if time.monotonic() + self._cost(job) <= self.deadline:
                    self.active.append(job)
                    return job
                self.left_out.append(job)
        return None

    def _work(self):
        while (job := self._next()) is not None:
            error = None
            try:
                job.execute()
            except Exception as problem:  # told in the report
                error = str(problem)
            with self.lock:
                self.active.remove(job)
                if error is None:
                    self._learn_speed(job)
                else:
                    self.failed.append((job, error))
                    self.say(f"FAILED: {error}")

    def _progress(self):
        with self.lock:
            active = [f"{j.run.data} {j.run.model.name} seed {j.run.seed} "
                      f"{100 * j.position // max(j.columns.samples, 1)} %"
                      for j in self.active]
            done = self.total - len(self.waiting) - len(self.active) - \
                len(self.left_out)
        self.say(f"{done} of {self.total} runs, "
                 f"{max(0, self.deadline - time.monotonic()) / 60:.0f} min "
                 f"left: {'; '.join(active)}", progress=True)
