#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Several models on one stream, the real daemon on the mock cluster:

1. dien with its auxiliary loss as the main model beside base, lr and
   wide_deep: each has its own numbers in /status and /metrics, RelaImpr is
   live, the published version scores in `interestd rank` and in the reader
   that knows the file format alone;
2. a shadow is the very model that it would be alone, also through kill -9;
3. publish.model publishes a shadow, which takes over at once, with a base:
   also one that differs from the one before by its learning rate alone;
4. a new shadow starts at the journal's oldest position; one whose
   configuration changed is refused, one whose checkpoint is older than the
   journal starts again, both said, and the main model goes on;
5. a shadow that cannot keep up is detached at the journal's cap; it is the
   published one, which is said, and when it starts again its versions have
   trained something."""

import glob
import json
import os
import re
import subprocess
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, merge
from paths import Steps
import request
import stream
import topics

TOPICS = "impressions:4,clicks:4,model-announcements:1"
READER = os.path.join(paths.TESTS, "snapshot", "check_snapshot.py")
# Small enough for sanitizers; both of the main model's GRUs are there.
SMALL = {"mlp_hidden_1": 24, "mlp_hidden_2": 12, "auxiliary_hidden_1": 12,
         "auxiliary_hidden_2": 8, "attention_hidden_1": 12,
         "attention_hidden_2": 8, "learning_rate": 0.01, "row_limit": 0.2}
BASE = {"name": "base", "kind": "base", **SMALL}
LR = {"name": "lr", "kind": "lr", "ftrl_alpha": 0.3}
WIDE = {"name": "wide", "kind": "wide_deep", "fields_off": ["goods", "pid"],
        **SMALL}
PNN = {"name": "pnn", "kind": "pnn", **SMALL}
TWINS = [BASE, {**BASE, "name": "twin", "learning_rate": 0.02}]


class Stream(stream.Stream):
    """Pages whose first places and some goods are clicked more often: even a
    base model is better than chance after some thousand samples. Each seed
    has its own hours."""

    def __init__(self, seed, pages):
        self._begin = seed * 4 * 3600 * stream.SECOND
        super().__init__(seed, pages, disorder=False)

    def _page(self, page, at):
        at += self._begin
        user = f"u{int(self._rng.random() ** 2 * 300)}"
        for slot in range(5):
            goods = int(self._rng.random() ** 2 * 100)
            name = f"i{at}-{page}-{slot}"
            self._send(0, user, at, impression_id=name, pid=f"p{slot}",
                       gender="f", age_level=3, **self._item(goods))
            share = (0.5 if goods % 3 == 0 else 0.1) / (1 + slot)
            if self._rng.random() < share:
                self._click(name, user, at + 2000, goods)


def by_name(status):
    return {model["name"]: model for model in status["models"]}


def metrics(daemon):
    with urllib.request.urlopen(daemon.url("/metrics"), timeout=10) as answer:
        text = answer.read().decode()
    return dict(re.findall(r"^(interestd_model_\S+) (\S+)$", text, re.M))


class Test:
    def __init__(self, arguments, folder):
        self.interestd, self.folder = arguments.interestd, folder
        self.pages = arguments.pages
        self.steps = Steps()
        self.events = 0

    def run(self):
        with Broker(self.interestd, TOPICS) as broker:
            self.broker = broker
            config = stream.config()
            del config["learner"]["kind"], config["learner"]["activation"]
            self.config = merge(config, {
                "kafka.brokers": broker.brokers,
                "ingest.journal_keep": False,
                "learner": {**config["learner"], **SMALL, "kind": "dien",
                            "shadow": [BASE, LR, WIDE]}})
            self.steps.run("fill the topics", self.fill, 3)
            self.steps.run("dien, base, lr, wide_deep", self.together)
            self.steps.run("base alone: the same bits", self.alone)
            self.steps.run("kill -9: the same bits", self.killed)
            self.steps.run("publish a shadow", self.publish)
            self.steps.run("publish a twin of what was published", self.twin)
            self.steps.run("late, changed, outdated", self.changes)
            self.steps.run("one that cannot keep up", self.slow)

    def fill(self, seed):
        with topics.Client(self.broker.brokers) as client:
            self.events += Stream(seed, self.pages).send(client)

    # ---- helpers ------------------------------------------------------------

    def daemon(self, name, **changes):
        return Daemon(self.interestd, os.path.join(self.folder, name),
                      self.config, **changes)

    def trained(self, daemon, names=None):
        """Until all events are applied and the models have trained them."""
        def done(status):
            ingest, models = status["ingest"], by_name(status)
            return (ingest["events"] >= self.events and ingest["at_end"] and
                    all(models[name]["position"] >= ingest["batch_end"]
                        for name in names or models))
        return daemon.wait(done, f"{names or 'all models'} trained", 240)

    def finish(self, daemon, names=None):
        try:
            daemon.start()
            status = self.trained(daemon, names)
            self.seen = metrics(daemon)
            daemon.stop()
        finally:
            daemon.end()
        return status

    def weights(self, daemon, name):
        said = daemon.inspect("checkpoint", name)
        found = json.loads("\n".join(said))
        return found["position"], found["digest"]

    def read(self, daemon):
        """The published version, by the reader in Python; its kind."""
        done = subprocess.run(
            [sys.executable, "-B", READER, daemon.config["model_folder"]],
            capture_output=True, text=True)
        check(done.returncode == 0, f"reader: {done.stderr}")
        return done.stdout.split()[2].rstrip(",")

    # ---- steps --------------------------------------------------------------

    def together(self):
        daemon = self.daemon("together")
        status = self.finish(daemon)
        models = by_name(status)
        check(list(models) == ["main", "base", "lr", "wide"], "models")
        for name, model in models.items():
            check(model["state"] == "training", f"{name}: {model['state']}")
            check(model["begin"] == 0 and model["rejected"] == 0, name)
            check(model["samples"] == models["main"]["samples"] > 1000, name)
            check(model["total"]["auc"] is not None, f"{name}: no AUC")
        check("pid" not in models["wide"]["rows"], "a field is not off")
        check(models["wide"]["rows"]["cross"] > 10, "no crosses")
        check(models["main"]["auxiliary_loss"] > 0, "no auxiliary loss")
        self.check_rela_impr(models)
        self.check_metrics(models)
        check(self.read(daemon) == "dien", "another kind was published")
        self.rank(daemon)
        self.plain = {name: self.weights(daemon, name) for name in models}

    def check_rela_impr(self, models):
        base = models["base"]["total"]["auc"]
        for name, model in models.items():
            rela = model["rela_impr"]
            expected = ((model["total"]["auc"] - 0.5) / (base - 0.5) - 1) * 100
            check(rela["base"] == "base", f"{name}: against {rela['base']}")
            check(base > 0.5 and abs(rela["total"] - expected) < 1e-6,
                  f"{name}: RelaImpr {rela['total']}, not {expected}")
            check(rela["window_begin_ms"] > 0, f"{name}: no common window")

    def check_metrics(self, models):
        def value(name, labels):
            return float(self.seen[f"interestd_model_{name}{{{labels}}}"])
        for name, model in models.items():
            label = f'model="{name}"'
            check(value("samples_total", label) == model["samples"], name)
            check(value("detached", label) == 0, name)
            total = value("rela_impr_ratio",
                          f'{label},base="base",over="total"')
            check(abs(100 * total - model["rela_impr"]["total"]) < 1e-5, name)
        check(value("rows", 'model="wide",table="cross"') ==
              models["wide"]["rows"]["cross"], "rows")

    def rank(self, daemon):
        asked = os.path.join(daemon.folder, "request.json")
        request.write(asked, daemon.config, [
            {"goods": f"g{n}", "shop": f"s{n % 37}", "cate": f"c{n % 11}"}
            for n in range(6)])
        done = daemon.call("rank", "--model", daemon.config["model_folder"],
                           "--request", asked, "--json", config=False)
        check(done.returncode == 0, f"rank: {done.stderr}")
        scores = json.loads(done.stdout)["scores"]
        check(len(set(scores)) == 6 and all(0 < s < 1 for s in scores),
              f"scores {scores}")
        self.rank_of_user(daemon, asked)

    def rank_of_user(self, daemon, asked):
        """A named user's behaviors come from the state: as if given."""
        lines = daemon.call("inspect", "sequences").stdout.splitlines()
        line = max(map(json.loads, lines), key=lambda x: len(x["behaviors"]))
        with open(asked, encoding="utf-8") as file:
            plain = json.load(file)
        plain.pop("behaviors", None)
        asked += ".user"
        names = ("goods", "shop", "cate")
        given = [{name: {"id": value} for name, value in zip(names, ids)
                  if value} for _, _, ids in line["behaviors"]]
        answers = []
        for more in ({"user": line["user"]}, {"behaviors": given},
                     {"user": line["user"], "time_ms": 1},
                     {"user": "nobody has this name"}):
            with open(asked, "w", encoding="utf-8") as file:
                json.dump({**plain, **more}, file)
            done = daemon.call("rank", "--model",
                               daemon.config["model_folder"], "--request",
                               asked, "--explain", "--json")
            check(done.returncode == 0, f"rank: {done.stderr}")
            answers.append(json.loads(done.stdout))
        check(answers[0]["scores"] == answers[1]["scores"],
              "behaviors of a user differ from the same ones given")
        check([len(x["without"][0]) for x in answers] ==
              [len(given), len(given), 0, 0], "not the user's behaviors")
        done = daemon.call("rank", "--model", daemon.config["model_folder"],
                           "--request", asked, config=False)
        check(done.returncode == 64 and "--config FILE" in done.stderr,
              f"rank of a user without --config: {done.stderr}")

    def alone(self):
        daemon = self.daemon("alone", learner={
            **self.config["learner"], **BASE, "shadow": []})
        self.finish(daemon)
        check(self.weights(daemon, "base") == self.plain["base"],
              "base beside others and base alone differ")

    def killed(self):
        daemon = self.daemon("killed")
        most = self.plain["main"][0]
        try:
            for share in (0.2, 0.5, 0.8):
                daemon.start()
                daemon.wait(lambda s: by_name(s)["lr"]["position"]
                            >= share * most, "some training", 240)
                daemon.kill()
            self.finish(daemon)
        finally:
            daemon.end()
        for name, weights in self.plain.items():
            found = self.weights(daemon, name)
            check(found == weights, f"{name}: {found}, not {weights}")

    def publish(self):
        """On the state of the first run, which published main."""
        daemon = self.daemon("together", **{"publish.model": "wide"})
        status = self.finish(daemon)
        check(by_name(status)["wide"]["published"], "not published")
        check(self.read(daemon) == "wide_deep", "main is published still")
        self.rank_without_goods(daemon)

    def twin(self):
        """Its shape, position and samples are the other's; its weights are
        not, so it must not follow it as a delta."""
        for name, filled in (("base", 4), ("twin", 5)):
            self.fill(filled)
            daemon = self.daemon("twins", **{
                "publish.model": name, "publish.delta_ms": 0,
                "learner.shadow": TWINS})
            self.finish(daemon)
            self.read(daemon)
            folder = daemon.config["model_folder"]
            with open(os.path.join(folder, "CURRENT"), encoding="utf-8") as at:
                current = at.read().split()[0]
            with open(os.path.join(folder, current, "manifest.json"),
                      encoding="utf-8") as file:
                kind = json.load(file)["kind"]
            check(kind == "base", f"{name}: the version is a {kind}")

    def rank_without_goods(self, daemon):
        asked = os.path.join(daemon.folder, "request.json")
        done = daemon.call("rank", "--model", daemon.config["model_folder"],
                           "--request", asked, config=False)
        check(done.returncode == 65 and "the model has no" in done.stderr,
              f"rank of a model without goods and pid: {done.stderr}")

    def changes(self):
        self.fill(6)
        outdated = [BASE, LR]
        self.finish(self.daemon("together", **{"learner.shadow": outdated}))
        self.fill(7)
        self.finish(self.daemon("together", **{"learner.shadow": outdated}))
        daemon = self.daemon("together", **{"learner.shadow": [
            {**BASE, "mlp_hidden_1": 25}, LR, WIDE, PNN]})
        models = by_name(self.finish(daemon, ["main", "lr"]))
        check(models["base"]["state"] == "refused" and
              "mlp_hidden_1" in models["base"]["reason"],
              f"base: {models['base']}")
        check(self.seen['interestd_model_detached{model="base"}'] == "1",
              "model_detached")
        for name in ("wide", "pnn"):
            model = models[name]
            check(model["state"] == "training" and model["begin"] > 0 and
                  model["rela_impr"]["total"] is None, f"{name}: {model}")
        log = daemon.log(100_000)
        check("event=shadow_refused model=base" in log, "base: no word")
        check("event=shadow_restarted model=wide" in log, "wide: no word")
        check("event=shadow model=pnn kind=pnn" in log, "pnn: no word")
        check(os.path.isdir(os.path.join(daemon.config["state"], "shadow",
                                         "wide.old")), "wide.old is missing")

    def slow(self):
        """Its MLP is thousands of times the others' work."""
        daemon = self.daemon("slow", **{
            "ingest.journal_max_mb": 1, "learner.batch_size": 16,
            "learner.checkpoint_seconds": 0, "publish.delta_ms": 0,
            "publish.model": "slow",
            "learner.shadow": [LR, {"name": "slow", "kind": "base",
                                    "mlp_hidden_1": 1536,
                                    "mlp_hidden_2": 1536}]})
        try:
            daemon.start()
            status = self.trained(daemon, ["main", "lr"])
            status = daemon.wait(lambda s: by_name(s)["slow"]["state"]
                                 == "detached", "slow to be detached", 60)
            self.seen = metrics(daemon)
            daemon.stop()
            daemon.start()
            again = by_name(daemon.wait(lambda s: True, "an answer", 60))
            daemon.stop()
        finally:
            daemon.end()
        check("slow" in status["publish"]["last_error"],
              f"publish: {status['publish']}")
        check(again["slow"]["begin"] > 0, "slow did not start again")
        self.check_trained(daemon)
        models = by_name(status)
        check(models["slow"]["position"] < models["main"]["position"] / 2,
              "slow was not slow")
        check(models["lr"]["state"] == "training", "lr was detached")
        check(models["lr"]["rela_impr"]["base"] == "slow" and
              models["lr"]["rela_impr"]["total"] is None,
              "compared with what the base model missed")
        check(self.seen['interestd_model_detached{model="slow"}'] == "1",
              "model_detached")
        check("event=shadow_detached" in daemon.log(100_000), "no word")

    @staticmethod
    def check_trained(daemon):
        found = glob.glob(os.path.join(daemon.config["model_folder"], "v*",
                                       "manifest.json"))
        for name in found:
            with open(name, encoding="utf-8") as file:
                samples = json.load(file)["metrics"]["total"]["samples"]
            check(samples > 0, f"{name}: of no sample")


def test(arguments, folder):
    Test(arguments, folder).run()


if __name__ == "__main__":
    import argparse
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=1000)
    paths.main(test, options)
