#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Going back to an older version, the real daemon on the mock cluster:

1. versions that are not there, and a learner that cannot go back so far, are
   refused in words, and nothing changes;
2. `rollback` publishes the old files' bytes as a newer version of a newer
   epoch; training goes on, nothing else is published: not after kill -9 and a
   restart, not at the end; /status, /metrics and the log say so;
3. `publish --force` publishes a base of what was trained since, then deltas;
4. `rollback --learner` takes the learner back to a kept checkpoint; what it
   had trained since is skipped, in the ledger of journal positions too, and
   stays so after kill -9;
5. a version from before a user was forgotten is refused;
6. all the while (epoch, version) of CURRENT only grows."""

import argparse
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "daemon"))
import paths
from broker import Broker
from daemon import Daemon, check, merge
from paths import Steps
from shadows import Stream
import stream
import topics

TOPICS = "impressions:4,clicks:4,model-announcements:1"
TOKEN = "there-and-back-again-0123"
DATA, NO_INPUT = 65, 66


class Test:
    def __init__(self, arguments, folder):
        self.interestd, self.folder = arguments.interestd, folder
        self.pages = arguments.pages
        self.events, self.seed = 0, 7
        self.newest = (0, 0)

    def run(self):
        token = os.path.join(self.folder, "token")
        with open(token, "w") as file:
            file.write(TOKEN)
        with Broker(self.interestd, TOPICS) as broker:
            self.broker = broker
            config = merge(stream.config(), {
                "kafka.brokers": broker.brokers,
                "http.token": "file:" + token,
                "learner.checkpoint_seconds": 3600, "publish.delta_ms": 200,
                "ingest.journal_keep": False, "publish.gate_auc_drop": 1, "publish.versions_kept": 1000})
            self.daemon = Daemon(self.interestd,
                                 os.path.join(self.folder, "d"), config)
            steps = Steps()
            try:
                steps.run("versions", self.versions)
                steps.run("refused", self.refused)
                steps.run("rolled back", self.rolled_back)
                steps.run("held over a restart", self.held)
                steps.run("forced", self.forced)
                steps.run("with the learner", self.learner)
            finally:
                self.daemon.end()

    # ---- helpers -----------------------------------------------------------

    def fill(self):
        """More events; waits until they are trained."""
        self.seed += 1
        with topics.Client(self.broker.brokers) as client:
            self.events += Stream(self.seed, self.pages).send(client)
        if not self.daemon.process:
            self.daemon.start()
        self.daemon.wait_trained(self.events, 300)
        return self.daemon.status()

    def listed(self):
        """By name; sees to it that CURRENT never goes back."""
        done = self.daemon.call("versions", "--model",
                                self.daemon.config["model_folder"], "--json",
                                config=False)
        check(done.returncode == 0, done.stderr)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        for version in found:
            if version["current"]:
                now = version["epoch"], version["version"]
                check(now >= self.newest, f"{now} after {self.newest}")
                self.newest = now
        return {version["name"]: version for version in found}

    def manifest(self, name):
        with open(os.path.join(self.daemon.config["model_folder"], name,
                               "manifest.json")) as file:
            return json.load(file)

    def roll_back(self, name, *options, status=0):
        done = self.daemon.call("rollback", name, "--json", *options)
        check(done.returncode == status,
              f"exit status {done.returncode}: {done.stderr}")
        return json.loads(done.stdout) if status == 0 else done.stderr

    def published_all(self):
        return self.daemon.wait(
            lambda s: s["publish"]["position"] == s["learner"]["position"]
            and not s["publish"]["gate"]["holding"], "all is published", 60)

    def checkpoint(self):
        self.published_all()
        self.daemon.call("checkpoint")
        return self.daemon.wait(
            lambda s: s["learner"]["checkpoint_position"] ==
            s["learner"]["position"], "a checkpoint",
            60)["learner"]["position"]

    @staticmethod
    def ledger(status):
        learner = status["learner"]
        check(learner["begin"] + learner["samples"] + learner["rejected"] +
              learner["forgets"] + learner["skipped"] == learner["position"],
              f"ledger of positions: {learner}")
        return learner

    # ---- steps -------------------------------------------------------------

    def versions(self):
        for _ in range(3):
            self.fill()
            self.published_all()
        listed = self.listed()
        check(len(listed) >= 3, listed)
        self.first = min(listed.values(), key=lambda v: v["version"])
        check(self.first["kind"] == "base" and self.first["position"] > 0 and
              self.first["created_ms"] > 0 and "auc" in self.first["gate"],
              self.first)

    def refused(self):
        said = self.roll_back("v1-1", status=NO_INPUT)
        check("there is no version v1-1" in said, said)
        for _ in range(2):  # are kept
            self.fill()
            self.checkpoint()
        before = self.listed()
        said = self.roll_back(self.first["name"], "--learner",
                              status=NO_INPUT)
        check("cannot go back so far" in said, said)
        check(self.listed().keys() == before.keys(), "a version came of it")

    def rolled_back(self):
        answer = self.roll_back(str(self.first["version"]))
        old, new = self.manifest(self.first["name"]), \
            self.manifest(answer["name"])
        check(new["kind"] == "base" and new["files"] == old["files"] and
              new["golden"] == old["golden"], "other bytes or scores")
        check(new["rollback_of"] == {"epoch": old["epoch"],
                                     "version": old["version"]} and
              new["epoch"] > old["epoch"] and
              new["position"] == old["position"], new["rollback_of"])
        listed = self.listed()
        check(listed[answer["name"]]["current"], listed)
        self.back = answer["name"]
        status = self.fill()
        self.holding(status)
        check(status["learner"]["position"] > old["position"], "not trained")

    def holding(self, status):
        gate = status["publish"]["gate"]
        check(gate["holding"] and gate["reason"] == "rollback" and
              "--force" in gate["text"], gate)
        metrics = self.daemon.page("/metrics")
        check("interestd_publish_holding 1" in metrics and
              'interestd_publish_held_total{reason="rollback"} 1' in metrics,
              "metrics")
        check("reason=rollback" in self.daemon.log(10**6), "log")
        check(self.listed()[self.back]["current"], "another version")

    def held(self):
        self.daemon.kill()
        self.daemon.start()
        self.holding(self.fill())
        self.daemon.call("publish")
        self.holding(self.fill())
        self.daemon.stop()
        check(self.listed()[self.back]["current"], "published at the end")
        self.daemon.start()
        self.daemon.wait_trained(self.events, 300)

    def forced(self):
        check(self.daemon.call("publish", "--force").returncode == 0, "force")
        self.published_all()
        chain = [v for v in self.listed().values()
                 if (v["epoch"], v["version"]) >
                 (self.manifest(self.back)["epoch"],
                  self.manifest(self.back)["version"])]
        check(chain and "rollback_of" not in self.manifest(chain[0]["name"]),
              chain)
        self.fill()
        self.published_all()
        check(self.daemon.status()["publish"]["rollback"]["of_version"] == 0,
              "still rolled back")

    def learner(self):
        kept = self.checkpoint()
        self.fill()
        self.published_all()
        target = next(v for v in self.listed().values()
                      if v["position"] >= kept and "rollback_of" not in v)
        before = self.ledger(self.fill())
        self.roll_back(target["name"], "--learner")
        after = self.ledger(self.daemon.wait(
            lambda s: s["learner"]["skipped"] > 0, "a skipped range", 60))
        check(after["skip_from"] == kept and
              after["skip_to"] == before["position"] and
              after["skipped"] == before["position"] - kept and
              after["samples"] == before["samples"] - after["skipped"],
              f"{before}: {after}")
        self.fill()
        self.daemon.kill()
        self.daemon.start()
        self.daemon.wait_trained(self.events, 300)
        again = self.ledger(self.daemon.status())
        check(again["skipped"] == after["skipped"], again)
        check(self.daemon.call("publish", "--force").returncode == 0, "force")
        self.published_all()
        name = next(line["name"] for line in self.listed().values()
                    if line["loadable"])
        done = self.daemon.call("forget", "u1")
        check(done.returncode == 0, done.stderr)
        self.daemon.wait(lambda s: s["forget"]["position"] > 0, "forgotten",
                         60)
        said = self.roll_back(name, status=DATA)
        check("users were forgotten" in said, said)
        self.daemon.stop()
        done = self.daemon.call("fsck")
        check(done.returncode == 0, done.stdout + done.stderr)
        self.listed()


def test(arguments, folder):
    Test(arguments, folder).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=400)
    paths.main(test, options)
