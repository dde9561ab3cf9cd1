#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`interestd backup` on the mock cluster: copies taken while the daemon works,
with and without compaction, open, verify, go on and end with the same ledger,
sequences, samples and bits in the weights as a run that nobody disturbed; so
does the daemon that was copied. A folder that is not empty, a state that is
not there and one that is damaged are refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, compare, dump, merge
from paths import Steps, say
import stream
import topics

TOPICS = "impressions:4,clicks:4,model-announcements:1"


def finish(daemon, events, out):
    """To the end of the topics; the digest of the weights."""
    status = daemon.wait_trained(events, 300)
    check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
    daemon.stop()
    dump(daemon, out)
    found = daemon.checkpoint()
    return found["position"], found["digest"]


class Test:
    def __init__(self, interestd, folder, pages):
        self.interestd, self.folder, self.pages = interestd, folder, pages

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def run(self):
        steps = Steps()
        with Broker(self.interestd, TOPICS) as self.broker:
            self.config = merge(stream.config(), {
                "kafka.brokers": self.broker.brokers,
                "learner.checkpoint_seconds": 1, "publish.delta_ms": 300,
                "ingest.journal_keep": False})
            # Small batches, so that a fetch can be small.
            with topics.Client(self.broker.brokers,
                               **{"batch.num.messages": 100}) as client:
                self.events = stream.Stream(5, self.pages).send(client)
            steps.run("a run that nobody disturbs", self.straight)
            steps.run("two backups while it works", self.busy)
            for name in ("plain", "compact"):
                steps.run(f"restore: {name}", self.restore, name)
            steps.run("another epoch meanwhile", self.another_epoch)
            steps.run("parts that do not belong together", self.mixed)
            steps.run("what is refused", self.refused)

    def straight(self):
        daemon = Daemon(self.interestd, self.path("straight"), self.config)
        try:
            daemon.start()
            self.weights = finish(daemon, self.events,
                                  self.path("straight", "out"))
        finally:
            daemon.end()
        say(f"  {self.events} events, weights {self.weights}")

    def back_up(self, daemon, name, *arguments):
        done = daemon.call("backup", "--json", *arguments, self.path(name))
        check(done.returncode == 0, f"exit status {done.returncode}: "
                                    f"{done.stderr}")
        said = json.loads(done.stdout)
        check(said["events"] <= self.events, f"{said}")
        say(f"  {name}: {done.stdout.strip()}")
        return said

    def busy(self):
        self.broker.tell("rtt 1 100")
        daemon = Daemon(self.interestd, self.path("busy"), self.config, **{
            "kafka.properties": {"fetch.message.max.bytes": 2048},
            "ingest.commit_events": 500})
        try:
            daemon.start()
            daemon.wait(lambda s: s["learner"]["checkpoints"] > 0 and
                        s["publish"]["version"] > 0 and
                        s["ingest"]["events"] > self.events // 10,
                        "a checkpoint and a version", 120)
            first = self.back_up(daemon, "plain")
            second = self.back_up(daemon, "compact", "--compact")
            check(first["events"] < self.events, "the daemon had ended "
                                                 "already")
            check(second["events"] >= first["events"], "the second is older")
            self.broker.tell("rtt 1 0")
            weights = finish(daemon, self.events, self.path("busy", "out"))
        finally:
            daemon.end()
        self.same("copied while it ran", self.path("busy", "out"), weights)
        self.daemon = daemon

    def same(self, title, out, weights):
        compare_some(title, self.path("straight", "out"), out)
        check(weights == self.weights,
              f"{title}: weights {weights}, not {self.weights}")

    def restore(self, name):
        daemon = Daemon(self.interestd, self.path(f"{name}-restored"),
                        self.config)
        for part in ("state", "model"):
            shutil.copytree(self.path(name, part),
                            daemon.path.replace("config.yaml", part))
        try:
            check(daemon.call("fsck").returncode == 0, "fsck of the copy")
            daemon.start()
            weights = finish(daemon, self.events,
                             self.path(f"{name}-restored", "out"))
        finally:
            daemon.end()
        self.same(name, self.path(f"{name}-restored", "out"), weights)

    def another_epoch(self):
        """The daemon starts and announces between model and store."""
        self.broker.tell("rtt 1 100")
        daemon = Daemon(self.interestd, self.path("epoch"), self.config, **{
            "kafka.properties": {"fetch.message.max.bytes": 2048}})
        try:
            daemon.start()
            before = daemon.wait(lambda s: s["publish"]["version"] > 0,
                                 "a version", 120)["publish"]["epoch"]
            daemon.kill()
            stopped = next((place for place in map(
                lambda i: self.stop_between(daemon, f"epoch-{i}"), range(20))
                if place), None)
            check(stopped, "the backup was never between model and store")
            daemon.start()
            at = daemon.wait(lambda s: s["publish"]["published"] > 0 and
                             s["publish"]["epoch"] > before,
                             "another epoch", 120)["ingest"]["commits"]
            daemon.wait(lambda s: s["ingest"]["commits"] > at + 2, "commits")
            stopped.send_signal(signal.SIGCONT)
            _, words = stopped.communicate(timeout=120)
            check(stopped.returncode == 0, words)
            self.broker.tell("rtt 1 0")
        finally:
            daemon.end()

    def stop_between(self, daemon, name):
        """A backup that stands still behind the model; None: it was faster."""
        folder = self.path(name)
        process = subprocess.Popen(daemon.command("backup", folder),
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not os.path.exists(
                os.path.join(folder, "model", "CURRENT")):
            time.sleep(0.0005)
        process.send_signal(signal.SIGSTOP)
        if process.poll() is None and not os.path.exists(
                os.path.join(folder, "state", "store")):
            return process
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=120)
        return None

    def mixed(self):
        """The first backup's store with what the daemon has in the end."""
        daemon = Daemon(self.interestd, self.path("mixed"), self.config)
        home = os.path.dirname(daemon.path)
        for part in ("state", "model"):
            shutil.copytree(self.path("busy", part),
                            os.path.join(home, part))
        check(self.damaged(daemon) == [], "as it ended")
        store = os.path.join(home, "state", "store", "data.mdb")
        os.rename(store, store + ".aside")
        shutil.copy(self.path("plain", "state", "store", "data.mdb"), store)
        found = self.damaged(daemon)
        check("checkpoints" in found and
              set(found) <= {"checkpoints", "model"},
              f"an older store: {found}")
        os.rename(store + ".aside", store)
        schemas = os.path.join(home, "state", "schemas")
        os.makedirs(schemas, exist_ok=True)
        with open(os.path.join(schemas, "7.avsc"), "w") as file:
            file.write('{"type": "rec')
        check(self.damaged(daemon) == ["schemas"], "a broken schema")

    @staticmethod
    def damaged(daemon):
        done = daemon.call("fsck", "--json")
        parts = [part["part"] for part in json.loads(done.stdout)
                 if not part["good"]]
        check(done.returncode == (76 if parts else 0),
              f"exit status {done.returncode}: {parts} {done.stderr}")
        return parts

    def refused(self):
        done = self.daemon.call("backup", self.path("plain"))
        check(done.returncode == 73 and "not empty" in done.stderr,
              f"a folder in use: {done.returncode} {done.stderr}")
        none = Daemon(self.interestd, self.path("none"), self.config)
        done = none.call("backup", self.path("of-nothing"))
        check(done.returncode == 66, f"no state: {done.returncode} "
                                     f"{done.stderr}")
        store = os.path.join(self.daemon.config["state"], "store", "data.mdb")
        user = json.loads(self.daemon.inspect("sequences")[0])["behaviors"][0]
        with open(store, "rb") as file:
            data = bytearray(file.read())
        wanted = user[0].to_bytes(8, "little") + user[1].to_bytes(4, "little")
        for at in range(len(data)):
            at = data.find(wanted, at)
            if at < 0:
                break
            data[at] ^= 1
        with open(store, "wb") as file:
            file.write(data)
        done = self.daemon.call("backup", self.path("damaged"))
        check(done.returncode == 76 and "sequences" in done.stderr,
              f"a damaged state: {done.returncode} {done.stderr}")
        check(not os.path.exists(self.path("damaged", "backup.json")),
              "a damaged copy looks whole")
        with open(store, "r+b") as file:
            file.truncate(os.path.getsize(store) // 2)
        for command in ("run", "fsck", "inspect"):
            done = self.daemon.call(
                command, *(["ledger"] if command == "inspect" else []))
            check(done.returncode == 76 and "was cut" in done.stderr +
                  done.stdout, f"{command} of a cut file: {done.returncode} "
                               f"{done.stderr}")


def compare_some(title, first, second):
    """Samples that were trimmed are not there to be compared: the rest of
    them is, from the end on."""
    for out in (first, second):
        with open(os.path.join(out, "samples")) as file:
            lines = file.readlines()
        with open(os.path.join(out, "samples"), "w") as file:
            file.writelines(lines[-200:])
    compare(title, first, second)


def test(arguments, folder):
    Test(arguments.interestd, folder, arguments.pages).run()


if __name__ == "__main__":
    options = paths.argparse.ArgumentParser(
        description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=4000)
    paths.main(test, options)
