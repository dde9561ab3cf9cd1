#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""/metrics, the alerts and the dashboard against a real Prometheus, which
scrapes the daemon (a base shadow beside the main model) on the mock broker:

1. promtool finds nothing in /metrics and the rules, and the rules' cases pass,
   one that fires and one that does not for each alert;
2. every alert has severity, summary and an entry in the runbook, which has no
   others;
3. every expression of an alert is evaluated, on metrics that the daemon has;
   nothing fires while all is well, the first one fires when it is killed;
4. every query of the dashboard returns numbers.

Skipped where prometheus is not installed."""

import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

for _folder in ("support", "daemon"):
    sys.path.insert(0, os.path.join(os.path.dirname(
        os.path.abspath(__file__)), "..", _folder))
import paths
from broker import Broker
from daemon import Daemon, Failure, check, merge
from kafka import Unavailable
from paths import Steps, say
from shadows import BASE, SMALL, Stream
import stream
import topics
import yaml

TOPICS = "impressions:2,clicks:2,model-announcements:1"
CONFIGS = os.path.normpath(os.path.join(paths.TESTS, "..", "configs"))
RULES = os.path.join(CONFIGS, "alerts.yml")
CASES = os.path.join(paths.TESTS, "e2e", "alerts.yml")
# What the daemon does in a few seconds is seen in windows of a few seconds.
VARIABLES = {"$instance": ".*", "$__rate_interval": "10s"}
NAME = re.compile(r"\b(?:interestd|process)_[a-z0-9_]+")


def read(name):
    with open(os.path.join(CONFIGS, name), encoding="utf-8") as file:
        return file.read()


def fetch(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        raise Failure(f"{url}: {error} {error.read().decode()}") from None


def promtool(*arguments, text=None):
    done = subprocess.run(["promtool", *arguments], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(done.returncode == 0,
          f"promtool {' '.join(arguments)}: {done.stdout}")
    return done.stdout


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Prometheus:
    """Debian's server on a free port, in a folder of its own. Use as a context
    manager."""

    def __init__(self, folder, target):
        os.makedirs(folder)
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as file:
            yaml.safe_dump({
                "global": {"scrape_interval": "500ms",
                           "scrape_timeout": "500ms",
                           "evaluation_interval": "1s"},
                "rule_files": [RULES],
                "scrape_configs": [{
                    "job_name": "interestd",
                    "static_configs": [{"targets": [target]}]}]}, file)
        promtool("check", "config", config)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = os.path.join(folder, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", f"--config.file={config}",
                 f"--storage.tsdb.path={os.path.join(folder, 'data')}",
                 f"--web.listen-address=127.0.0.1:{port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def ask(self, path, **parameters):
        text = fetch(f"{self.url}/api/v1/{path}?"
                     + urllib.parse.urlencode(parameters))
        answer = json.loads(text)
        check(answer["status"] == "success" and not answer.get("warnings"),
              f"{path} {parameters}: {text[:500]}")
        return answer["data"]

    def query(self, expression):
        """[(labels, number)]"""
        found = self.ask("query", query=expression)
        check(found["resultType"] == "vector", f"{expression}: {found}")
        return [(one["metric"], float(one["value"][1]))
                for one in found["result"]]

    def wait(self, condition, what, seconds=30):
        """Until condition() is true. A server that only starts refuses."""
        end = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                with open(self.log, encoding="utf-8") as log:
                    raise Failure(f"prometheus ended: {log.read()[-2000:]}")
            try:
                if condition():
                    return
            except (OSError, Failure) as error:
                if time.monotonic() > end:
                    raise Failure(f"{what}: {error}") from None
            check(time.monotonic() < end, f"waited {seconds} s for {what}")
            time.sleep(0.2)


class Test:
    def __init__(self, interestd, folder):
        self.interestd, self.folder = interestd, folder
        self.alerts = [rule for group in yaml.safe_load(read("alerts.yml"))
                       ["groups"] for rule in group["rules"]]

    def run(self):
        steps = Steps()
        steps.run("the rules and their cases", self.rules)
        steps.run("the runbook has every alert", self.runbook)
        with Broker(self.interestd, TOPICS) as broker:
            self.broker = broker
            self.daemon = Daemon(
                self.interestd, os.path.join(self.folder, "daemon"),
                merge(stream.config(), {
                    "kafka.brokers": broker.brokers,
                    "learner": {**stream.config()["learner"], **SMALL,
                                "window_samples": 500,
                                "window_ms": 300_000,
                                "shadow": [BASE]}}))
            try:
                self.daemon.start()
                steps.run("the daemon learns", self.learn)
                with Prometheus(os.path.join(self.folder, "prometheus"),
                                self.target()) as self.prometheus:
                    steps.run("/metrics is clean", self.metrics)
                    steps.run("Prometheus scrapes it", self.scraped)
                    steps.run("the dashboard has data", self.dashboard)
                    steps.run("no alert while all is well", self.quiet)
                    steps.run("an alert when it is killed", self.killed)
            finally:
                self.daemon.end()

    # ---- files alone --------------------------------------------------------

    def rules(self):
        say("  " + promtool("check", "rules", RULES).split("\n")[1].strip())
        promtool("test", "rules", CASES)
        with open(CASES, encoding="utf-8") as file:
            cases = yaml.safe_load(file)["tests"][0]["alert_rule_test"]
        for alert in self.alerts:
            name = alert["alert"]
            kinds = {bool(case["exp_alerts"]) for case in cases
                     if case["alertname"] == name}
            check(kinds == {True, False}, f"{name}: cases {kinds}")

    def runbook(self):
        entries = re.findall(r"^## (\w+)$", read("runbook.md"), re.M)
        names = [alert["alert"] for alert in self.alerts]
        check(entries == names, f"runbook {entries}, alerts {names}")
        for alert in self.alerts:
            name, said = alert["alert"], alert["annotations"]
            check(alert["labels"]["severity"] in ("page", "ticket"), name)
            check(said["summary"] and said["runbook"]
                  == f"runbook.md#{name.lower()}", f"{name}: {said}")

    # ---- the daemon ---------------------------------------------------------

    def target(self):
        return urllib.parse.urlparse(self.daemon.url("/")).netloc

    def learn(self):
        with topics.Client(self.broker.brokers) as client:
            self.events = Stream(3, 800).send(client, partitions=2)
        self.daemon.wait(
            lambda s: s["publish"]["published"] >= 1 and all(
                m["last_samples"]["auc"] is not None for m in s["models"])
            and s["models"][0]["rela_impr"]["total"] is not None,
            "windows, RelaImpr and a version", 30)

    def metrics(self):
        text = fetch(self.daemon.url("/metrics"))
        found = promtool("check", "metrics", text=text)
        check(not found.strip(), f"promtool check metrics: {found}")
        self.names = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        status = self.daemon.status()
        check(f'\ninterestd_ingest_events_total {status["ingest"]["events"]}\n'
              in text, "events in /status and /metrics")
        say(f"  {len(self.names)} families")

    def scraped(self):
        """With more events while it does, so that there are rates."""
        def count():
            found = self.prometheus.query(
                "count_over_time(interestd_ready[1m])")
            return found and found[0][1] >= 3
        self.prometheus.wait(count, "three scrapes")
        with topics.Client(self.broker.brokers) as client:
            self.events += Stream(4, 400).send(client, partitions=2)
        self.daemon.wait_applied(self.events, 60)
        self.prometheus.wait(lambda: self.prometheus.query(
            f"interestd_ingest_events_total >= {self.events}"),
            "the last events")

    def dashboard(self):
        panels = json.loads(read("grafana.json"))["panels"]
        queries = 0
        for panel in panels:
            for target in panel["targets"]:
                expression = target["expr"]
                self.known(expression, panel["title"])
                for name, value in VARIABLES.items():
                    expression = expression.replace(name, value)
                self.prometheus.wait(
                    lambda: any(math.isfinite(value) for _, value in
                                self.prometheus.query(expression)),
                    f"{panel['title']}: {expression}", 10)
                self.legend(target, expression)
                queries += 1
        check(len(panels) >= 10 and queries > len(panels), "no dashboard")
        rate = self.prometheus.query(
            "rate(interestd_ingest_events_total[30s])")
        check(rate[0][1] > 0, f"no events per second: {rate}")
        say(f"  {len(panels)} panels, {queries} queries")

    def legend(self, target, expression):
        """Labels that a legend names are there."""
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            check(all(label in labels for labels, _ in
                      self.prometheus.query(expression)),
                  f"{expression}: no label {label}")

    # ---- alerts -------------------------------------------------------------

    def known(self, expression, where):
        """A misspelled metric is no error, its alert never fires."""
        names = set(NAME.findall(expression))
        check(names <= self.names, f"{where}: {names - self.names} are not "
                                   "metrics of the daemon")

    def quiet(self):
        """A model of a minute may be off, and the disk is not ours."""
        others = ("InterestdCalibrationOff", "InterestdDiskFilling")
        for alert in self.alerts:
            self.known(alert["expr"], alert["alert"])
            found = self.prometheus.query(alert["expr"])
            check(not found or alert["alert"] in others,
                  f"{alert['alert']}: {found}")
        def evaluated():
            rules = [rule for group in self.prometheus.ask("rules")["groups"]
                     for rule in group["rules"]]
            for rule in rules:
                check(rule["health"] != "err", f"rule: {rule}")
            return (len(rules) == len(self.alerts)
                    and all(rule["health"] == "ok" for rule in rules))
        self.prometheus.wait(evaluated, "evaluation of every rule")
        firing = [one for one in self.prometheus.ask("alerts")["alerts"]
                  if one["state"] == "firing"]
        check(not firing, f"firing: {firing}")

    def killed(self):
        self.daemon.kill()
        down = self.alerts[0]["expr"]
        self.prometheus.wait(lambda: self.prometheus.query(down),
                             "InterestdDown", 20)


def test(arguments, folder):
    for program in ("prometheus", "promtool"):
        if not shutil.which(program):
            raise Unavailable(f"{program} is not installed "
                              "(apt-get install prometheus)")
    Test(arguments.interestd, folder).run()


if __name__ == "__main__":
    paths.main(test)
