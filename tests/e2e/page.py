#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page at / in a real browser (Debian's chromium; 77 where there is none),
on the real daemon with live traffic from the mock cluster:

1. each state is named: starting, learning, broker away, lagging, gate
   holding, disk nearly full, paused, no answer; the page's ledger adds up;
2. nothing is loaded from elsewhere, nothing appears on the console but what
   the browser itself says of a daemon that is away and of a wrong token;
3. it fits from phone to wide, light and dark, and can be used with the
   keyboard alone: a manifest, the controls with their token;
4. the history of before a restart is there after it.

--pictures FOLDER keeps a picture of each state; --cpu SECONDS measures what an
open page costs the daemon."""

import argparse
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
import browser
from broker import Broker
from daemon import Daemon, check, load_config
from kafka import Unavailable
from paths import Steps, say

TOPICS = "impressions:4,clicks:4,model-announcements:1"
TOKEN = "a-token-for-the-page-0123456789"
SIZES = (("phone", 390, 844, False), ("tablet", 820, 1180, True),
         ("wide", 1920, 1080, False), ("wide-dark", 1920, 1080, True))
STATE = "document.querySelector('#state').textContent"


def text(selector):
    return f"document.querySelector('{selector}').innerText"


class Test:
    def __init__(self, arguments, folder):
        self.interestd, self.folder = arguments.interestd, folder
        self.pictures, self.cpu = arguments.pictures, arguments.cpu
        self.rate, self.producer = arguments.rate, None
        self.gather = arguments.gather
        self.token = os.path.join(folder, "token")
        with open(self.token, "w") as file:
            file.write(TOKEN + "\n")

    def run(self):
        if not browser.PROGRAM:
            raise Unavailable("no chromium: apt-get install chromium")
        if self.pictures:
            os.makedirs(self.pictures, exist_ok=True)
        steps = Steps()
        with browser.Browser(os.path.join(self.folder, "chromium")) as page, \
                Broker(self.interestd, TOPICS) as broker:
            self.page, self.broker = page, broker
            try:
                steps.run("learning", self.learning)
                steps.run("keyboard, manifest, controls", self.controls)
                if self.cpu:
                    steps.run("what it costs", self.cost)
                steps.run("no answer, restart, history", self.restart)
                steps.run("gate holding", self.holding)
                steps.run("disk nearly full", self.disk)
                steps.run("lagging", self.lagging)
                steps.run("starting, broker away", self.away)
            finally:
                self.daemon.end()
                self.stop_traffic()
        own = self.daemon_urls
        check(all(url.startswith((*own, "data:,", "about:"))
                  for url in page.requests),
              f"loaded from elsewhere: {set(page.requests)}")
        unexpected = [line for line in page.console
                      if not line.startswith((
                          "Failed to load resource: net::ERR_CONNECTION_RE",
                          "Failed to load resource: the server responded "
                          "with a status of 401"))]
        check(not unexpected, f"on the console: {unexpected}")

    # ---- helpers ------------------------------------------------------------

    daemon_urls = ()

    def start(self, name="d", **changes):
        config = load_config(os.path.join(paths.TESTS, "..", "configs",
                                          "demo.yaml"))
        for part in ("impressions", "clicks"):
            config[part]["schema"] = os.path.normpath(os.path.join(
                paths.TESTS, "..", "schemas",
                part.removesuffix("s") + ".avsc"))
        self.daemon = Daemon(self.interestd, os.path.join(self.folder, name),
                             config, **{
            "kafka.brokers": self.broker.brokers, "http.token":
            "file:" + self.token, "learner.checkpoint_seconds": 5,
            "learner.window_samples": 1000, **changes})
        self.daemon.start()
        self.daemon.wait(lambda s: True, "an answer", 60)
        self.daemon_urls += (self.daemon.url("/"),)

    def traffic(self):
        self.producer = self.produce("--seconds", "0", "--rate",
                                     str(self.rate))

    def produce(self, *arguments):
        return subprocess.Popen(
            [self.interestd, "produce", "--config", self.daemon.path,
             *arguments], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL)

    def stop_traffic(self):
        if self.producer:
            self.producer.terminate()
            self.producer.wait(30)
            self.producer = None

    def look(self, state, sizes=SIZES[3:]):
        """The page comes to say `state`; pictures of it in these sizes."""
        self.page.open(self.daemon.url("/"))
        self.page.wait(f"document.querySelector('#state') && {STATE} "
                       f"=== '{state}'", f"the state {state}", 60)
        for name, width, height, dark in sizes:
            self.page.size(width, height, dark)
            self.page.wait("document.readyState === 'complete'", "the page")
            time.sleep(0.5)
            wide = self.page.value("document.documentElement.scrollWidth")
            check(wide <= width, f"{name}: {wide} pixels wide")
            if self.pictures:
                self.picture(f"{state.replace(' ', '-')}-{name}", width, dark)

    def picture(self, name, width, dark):
        time.sleep(2.5)
        if width < 1400:
            tall = self.page.value("document.documentElement.scrollHeight")
            self.page.size(width, tall, dark)
            time.sleep(1)
        self.page.picture(os.path.join(self.pictures, name + ".png"))

    def adds_up(self):
        words = self.page.value(text("#ledger-sum"))
        check("it adds up" in words, f"the ledger says: {words}")

    # ---- states -------------------------------------------------------------

    def learning(self):
        self.start()
        self.traffic()
        self.daemon.wait(lambda s: s["publish"]["version"] >= 3,
                         "three versions", 120)
        if self.pictures:
            time.sleep(self.gather)
        self.look("learning", SIZES)
        self.adds_up()
        for part in ("tiles", "stages", "partitions", "ledger-list", "models",
                     "versions", "room"):
            words = self.page.value(text("#" + part))
            check(words and "NaN" not in words and "undefined" not in words,
                  f"#{part} says: {words}")
        self.page.wait("document.querySelector('#chart-auc')"
                       ".getAttribute('aria-label').match(/main: 0[.]/)",
                       "the AUC in words")

    def controls(self):
        page = self.page
        page.size(1920, 1080)
        # From the top with the keyboard: the link, the range, the controls.
        page.value("document.activeElement.blur()")
        reached = []
        for _ in range(3):
            page.key("Tab", 9)
            reached.append(page.value(
                "document.activeElement.id || "
                "document.activeElement.className"))
        check(reached == ["skip", "range", "controls-open"], f"{reached}")
        page.key("Enter", 13, "\r")
        page.wait("document.querySelector('#controls').open", "the controls")
        page.value("document.querySelector('#token').value = 'wrong'")
        self.press("Pause")
        page.wait(text("#answer") + ".includes('http.token')", "a refusal")
        check(not self.daemon.status()["paused"], "paused without the token")
        page.value(f"document.querySelector('#token').value = '{TOKEN}'")
        self.press("Pause")
        page.wait(f"{STATE} === 'paused'", "the state paused")
        check(self.daemon.status()["paused"], "not paused")
        if self.pictures:
            self.picture("controls", 1920, False)
        self.press("Resume")
        page.wait(f"{STATE} !== 'paused'", "it goes on")
        self.rollback()
        page.key("Escape", 27)
        page.wait("!document.querySelector('#controls').open", "closed")
        page.value("document.querySelector('#versions button').click()")
        page.wait(text("#manifest-text") + ".includes('journal_hash')",
                  "the manifest")
        page.key("Escape", 27)
        page.wait("!document.querySelector('#manifest').open", "closed")

    def rollback(self):
        """To a version of the list; then the gate is let go again."""
        page = self.page
        name = page.value("document.querySelector('#known-versions option')"
                          ".value")
        page.value("document.querySelector('#actions input').value = "
                   f"'{name}'")
        self.press("Roll back")
        page.wait(f"{text('#answer')}.includes('{name}')", "its answer")
        self.daemon.wait(lambda s: s["publish"]["gate"]["reason"]
                         == "rollback", "the version of the rollback", 60)
        self.press("Publish past the gate")
        self.daemon.wait(lambda s: not s["publish"]["gate"]["holding"],
                         "versions go on", 60)

    def press(self, title):
        """A control: what it will do is said, then it is confirmed."""
        self.page.value("[...document.querySelectorAll('#actions button')]"
                        f".find(b => b.textContent === '{title}').click()")
        said = self.page.value(text("#confirm-text"))
        check(len(said) > 20, f"{title} does not say what it does: {said}")
        self.page.value("document.querySelector('#confirm-yes').click()")

    def cost(self):
        """Processor time of the daemon for what an open page asks: /status
        each 2 s, /history each 10 s. Less than 1 % of a core."""
        def used():
            return (self.daemon.status()["usage"]["cpu_seconds"],
                    time.monotonic())

        def each(path, count):
            before, begin = used()
            for _ in range(count):
                self.daemon.page(path)
            now, end = used()
            return (now - before - idle * (end - begin)) / count

        self.page.open("about:blank")
        first, begin = used()
        time.sleep(self.cpu)
        second, end = used()
        idle = (second - first) / (end - begin)
        status, day = each("/status", 400), each("/history?minutes=1440", 200)
        share = 100 * (status / 2 + day / 10)
        say(f"  /status {1e6 * status:.0f} us, /history {1e6 * day:.0f} us: "
            f"{share:.3f} % of a core; the daemon itself {100 * idle:.1f} %")
        check(share < 1, "an open page costs too much")
        self.look("learning", ())

    def restart(self):
        self.stop_traffic()
        before = self.page.value("fetch('/history?minutes=60')"
                                 ".then(a => a.json())"
                                 ".then(h => h.at_ms)")
        self.daemon.kill()
        self.page.wait(f"{STATE} === 'no answer'", "the daemon away")
        check("what is shown is of" in self.page.value(text("#sentence")),
              "how old it is")
        if self.pictures:
            self.page.picture(os.path.join(self.pictures, "no-answer.png"))
        self.daemon.start()
        self.daemon.wait(lambda s: True, "an answer", 60)
        self.daemon_urls += (self.daemon.url("/"),)
        self.look("idle", ())
        after = self.page.value("fetch('/history?minutes=60')"
                                ".then(a => a.json())"
                                ".then(h => h.at_ms)")
        # The newest of a step is told.
        check(len(before) > 2 and after[:len(before) - 1] == before[:-1],
              f"before: {before}, after: {after}")
        self.daemon.stop()

    def holding(self):
        self.start(**{"publish.gate_samples": 10**9})
        self.traffic()
        self.look("gate holding")
        check("gate_samples" in self.page.value(text("#gate")), "the reason")
        self.daemon.stop()

    def disk(self):
        self.start(**{"ingest.disk_reserve_mb": 16_000_000})
        self.look("disk nearly full")
        self.daemon.stop()

    def lagging(self):
        """A slow model before much that has gathered."""
        self.stop_traffic()
        self.produce("--seconds", "5", "--rate", "20000").wait(120)
        self.start("slow", **{
            "learner.kind": "dien", "learner.mlp_hidden_1": 1024,
            "learner.batch_size": 32, "learner.mlp_hidden_2": 1024,
            "ingest.journal_max_mb": 1, "ingest.history_max": 50})
        self.look("lagging")
        self.adds_up()
        self.page.wait("document.querySelector('#stages .bottleneck b')"
                       ".innerText.startsWith('Training')", "the bottleneck")
        self.daemon.kill()

    def away(self):
        """A broker that does not answer, then none."""
        os.kill(self.broker.process.pid, 19)  # SIGSTOP
        self.start("new")
        self.look("starting")
        os.kill(self.broker.process.pid, 18)  # SIGCONT
        self.daemon.wait(lambda s: s["ingest"]["events"] > 0, "events", 120)
        self.broker.process.terminate()
        self.look("broker away")


def main(arguments, folder):
    Test(arguments, folder).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", help="folder for pictures")
    parser.add_argument("--cpu", type=int, default=0, help="seconds")
    parser.add_argument("--gather", type=int, default=30,
                        help="seconds of learning before its pictures")
    parser.add_argument("--rate", type=int, default=1500, help="events/s")
    paths.main(main, parser)
