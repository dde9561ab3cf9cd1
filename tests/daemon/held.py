#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gate and the controls, the real daemon on the mock cluster:

1. a model with too few samples is not published: /status, /metrics and the
   log say so, CURRENT does not appear, `publish` changes nothing and
   `publish --force` publishes, once;
2. kill -9 and restart while holding: the version that was current stays;
3. a version is judged against the manifest of the one before, which another
   process wrote; within the gate's bounds what was held is published;
4. pause, resume, checkpoint (which makes no version) and publish;
5. without a token, with a wrong one, and with garbage nothing happens."""

import glob
import json
import os
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, merge
from paths import Steps
from shadows import SMALL, Stream
import stream
import topics

TOPICS = "impressions:4,clicks:4,model-announcements:1"
TOKEN = "held-by-the-gate-0123456789"


def gate(status):
    return status["publish"]["gate"]


class Test:
    def __init__(self, arguments, folder):
        self.interestd, self.folder = arguments.interestd, folder
        self.pages = arguments.pages
        self.token = os.path.join(folder, "token")
        self.events, self.seed = 0, 0
        with open(self.token, "w") as file:
            file.write(TOKEN + "\n")

    def run(self):
        steps = Steps()
        with Broker(self.interestd, TOPICS) as broker:
            self.broker = broker
            self.config = merge(stream.config(), {
                "kafka.brokers": broker.brokers,
                "learner.checkpoint_seconds": 0, "publish.delta_ms": 300,
                "http.token": "file:" + self.token,
                **{"learner." + key: value for key, value in SMALL.items()}})
            steps.run("held for samples, forced", self.samples)
            steps.run("restart while holding", self.restart)
            steps.run("judged by a manifest", self.judged)
            steps.run("pause, resume, checkpoint, publish", self.controls)
            steps.run("no token", self.no_token)

    # ---- helpers ------------------------------------------------------------

    def fill(self):
        self.seed += 1
        with topics.Client(self.broker.brokers) as client:
            self.events += Stream(self.seed, self.pages).send(client)

    def start(self, **changes):
        self.daemon = Daemon(self.interestd, os.path.join(self.folder, "d"),
                             self.config, **changes)
        self.daemon.start()

    def call(self, name, status, *arguments):
        """A control by its command; what it said."""
        done = self.daemon.call(name, *arguments)
        said = done.stdout + done.stderr
        check(done.returncode == status,
              f"{name}: exit status {done.returncode}: {said}")
        check(TOKEN not in said, f"{name} gives the token away: {said}")
        return said

    def post(self, path, body=b"", token=TOKEN, method="POST"):
        """HTTP status and the answer's JSON."""
        request = urllib.request.Request(self.daemon.url(path), body,
                                         method=method)
        if token:
            request.add_header("Authorization", "Bearer " + token)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def metric(self, name):
        with urllib.request.urlopen(self.daemon.url("/metrics"),
                                    timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"interestd_{name} "):
                    return float(line.split()[-1])
        return None

    def current(self):
        """Manifest of the version that CURRENT names; None: there is none."""
        folder = self.daemon.config["model_folder"]
        try:
            with open(os.path.join(folder, "CURRENT")) as file:
                name = file.read().split()[0]
        except FileNotFoundError:
            return None
        with open(os.path.join(folder, name, "manifest.json")) as file:
            return json.load(file)

    def holding(self, reason):
        """Until all is trained and what is newest is held."""
        return self.daemon.wait(
            lambda s: s["ingest"]["events"] >= self.events
            and s["ingest"]["at_end"]
            and s["learner"]["position"] >= s["ingest"]["batch_end"]
            and gate(s)["holding"] and gate(s)["reason"] == reason
            and gate(s)["position"] == s["learner"]["position"],
            f"holding for {reason}", 120)

    def published(self, version):
        return self.daemon.wait(
            lambda s: s["publish"]["version"] == version
            and s["publish"]["position"] == s["learner"]["position"]
            and not gate(s)["holding"], f"version {version}", 120)

    # ---- steps --------------------------------------------------------------

    def samples(self):
        self.fill()
        self.start(**{"publish.gate_samples": 10**9})
        status = self.holding("samples")
        held = gate(status)
        check(status["publish"]["version"] == 0 and self.current() is None,
              "published in spite of it")
        check("gate_samples" in held["text"] and held["since_ms"] > 0 and
              held["judged"]["samples"] == status["learner"]["samples"] and
              held["judged"]["dense_norm"] > 0, f"gate: {held}")
        check(self.metric('publish_held_total{reason="samples"}') >= 1 and
              self.metric("publish_holding") == 1, "metrics")
        check("event=version_held reason=samples" in self.daemon.log(10**6),
              "no word in the log")
        # Waits double: at least 0.6 + 1.2 s from the first of three further
        # tries to the last.
        begin = time.monotonic()
        held = gate(self.daemon.wait(
            lambda s: gate(s)["held"]["samples"] >=
            held["held"]["samples"] + 3, "three more tries", 60))
        check(time.monotonic() - begin > 1.7, "tries do not become seldom")
        self.call("publish", 0)
        self.daemon.wait(lambda s: gate(s)["held"]["samples"] >
                         held["held"]["samples"], "another try", 60)
        check(self.current() is None, "published without --force")
        check('"effect"' in self.call("publish", 0, "--force"), "no answer")
        self.published(1)
        check(self.current()["gate"]["forced"] is True, "gate in the manifest")
        check(self.metric("publish_forced_total") == 1 and
              self.metric("publish_holding") == 0, "metrics after --force")
        # Once: what comes next is held again.
        self.fill()
        self.holding("samples")
        check(self.current()["version"] == 1, "forced twice")

    def restart(self):
        self.daemon.kill()
        self.daemon.start()
        status = self.holding("samples")
        check(status["publish"]["version"] == 1 and
              status["publish"]["published"] == 0, "version after kill -9")
        self.daemon.stop()  # the last checkpoint is held as well
        check(self.current()["version"] == 1, "published at the end")
        check(len(glob.glob(os.path.join(self.daemon.config["model_folder"],
                                         "v*"))) == 1, "left-over versions")

    def judged(self):
        """The norm of Adam's weights grows with the first samples."""
        before = self.current()["gate"]["dense_norm"]
        self.start(**{"publish.gate_norm_factor": 1,
                      "publish.gate_auc_drop": 1})
        held = gate(self.holding("norm"))
        check(f"from {before:.4g} to" in held["text"] and
              held["judged"]["dense_norm"] > before, f"{before}: {held}")
        self.daemon.stop()
        self.start(**{"publish.gate_auc_drop": 1})
        status = self.published(2)
        manifest = self.current()
        check(manifest["gate"] == {
            "samples": status["learner"]["samples"],
            "dense_norm": manifest["gate"]["dense_norm"], "forced": False} and
            abs(manifest["gate"]["dense_norm"] -
                held["judged"]["dense_norm"]) < 1e-3,
            f"{manifest['gate']}: {held}")
        self.daemon.stop()

    def controls(self):
        self.start(**{"publish.delta_ms": 0, "publish.gate_auc_drop": 1})
        status = self.daemon.wait(lambda s: not s["paused"], "a status", 60)
        self.call("pause", 0)
        check(self.daemon.status()["paused"] and self.metric("paused") == 1,
              "not paused")
        self.fill()
        time.sleep(1)
        now = self.daemon.status()
        check(now["ingest"]["events"] == status["ingest"]["events"] and
              now["learner"]["position"] == status["learner"]["position"],
              "went on while paused")
        self.call("resume", 0)
        status = self.daemon.wait_trained(self.events, 120)
        check(not status["paused"] and status["publish"]["version"] == 2 and
              status["learner"]["checkpoint_position"] <
              status["learner"]["position"], f"resumed: {status['publish']}")
        self.call("checkpoint", 0)
        self.daemon.wait(lambda s: s["learner"]["checkpoint_position"]
                         == s["learner"]["position"], "the checkpoint", 60)
        self.garbage()
        check(self.current()["version"] == 2, "a checkpoint was published")
        self.call("publish", 0)
        self.published(3)
        self.call("publish", 0, "--force")
        log = lambda: self.daemon.log(10**6)
        self.daemon.wait(lambda s: "event=nothing_to_publish" in log(),
                         "a word that nothing is new", 60)
        check(self.current()["version"] == 3, "published nothing new")
        self.daemon.stop()
        self.call("publish", 69)

    def garbage(self):
        """None of it does anything; the daemon goes on."""
        for path, body, code in (
                ("publish?force=2", b"", 400), ("publish?force", b"", 400),
                ("publish?forse=1", b"", 400), ("publish", b"{", 400),
                ("publish", b"\xff\x00", 400), ("publish", b"[" * 4096, 400),
                ("publish", b" " * 4097, 413), ("rollback", b"", 400),
                ("rollback", b"{\"version\": 1}", 400), ("roll", b"", 404),
                ("", b"", 404)):
            got, answer = self.post("/control/" + path, body)
            check(got == code and "error" in answer,
                  f"{path} {body[:20]}: {got} {answer}")
        for token in (None, "", TOKEN + "x", TOKEN[:-1], "x" * 3000):
            got, answer = self.post("/control/publish?force=1", token=token)
            check(got == 401 and "error" in answer, f"{token}: {got}")
        for method in ("GET", "PUT", "DELETE"):
            got, answer = self.post("/control/pause", None, method=method)
            check(got == 405, f"{method}: {got}")
        with open(self.token, "w") as file:
            file.write("another-token-0123456789")
        said = self.call("publish", 77, "--force")
        check("401" in said, said)
        with open(self.token, "w") as file:
            file.write(TOKEN)
        check(not self.daemon.status()["paused"], "paused by garbage")

    def no_token(self):
        del self.config["http"]["token"]
        self.start()
        self.daemon.wait(lambda s: True, "a status", 60)
        got, answer = self.post("/control/pause")
        check(got == 403 and "http.token" in answer["error"], f"{answer}")
        check("http.token is not set" in self.call("pause", 78), "the command")
        check(not self.daemon.status()["paused"], "paused without a token")
        self.daemon.stop()


def test(arguments, folder):
    made = Test(arguments, folder)
    made.daemon = None
    try:
        made.run()
    finally:
        if made.daemon:
            made.daemon.end()


if __name__ == "__main__":
    import argparse
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=400)
    paths.main(test, options)
