#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A user is forgotten, the real daemon on the mock cluster, a main model and a
shadow with a table of user ids, in a stream that has fallen quiet:

1. `interestd inspect sequence` tells of the user, beside the running daemon, by
   name and by id; of one that nobody knows it says so;
2. kill -9 right after the request: the daemon finishes it when it is back;
3. after `forget --wait --purge` neither the user's name nor the eight bytes of
   an id of it stand in the journal, the checkpoints, the versions or any other
   value of the state; of everybody else they do; the ledger is whole;
4. the user goes on from an empty sequence;
5. a daemon that was killed between its answer and its commit is asked again;
6. on a state that nobody runs: it forgets at once, the daemon does the rest;
7. the decisions repeat it: a rebuild from Kafka that is given them ends with
   the same state and the same bits in the weights."""

import argparse
import fcntl
import glob
import http.server
import json
import os
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, merge
from paths import Steps, say
import stream
import topics
import xxhash

TOPICS = "impressions:4,clicks:4,model-announcements:1"
TOKEN = "correct-horse-battery"
UNKNOWN = 67


def id_of(table, name):
    return xxhash.xxh3_64_intdigest(name.encode(),
                                    xxhash.xxh3_64_intdigest(table.encode(), 0))


class Forgetful(http.server.BaseHTTPRequestHandler):
    """Answers as a daemon does that is killed behind its first answer, before
    the commit, and that commits the next one."""
    asked, looks = 0, 0

    def log_message(self, *_):
        pass

    def say(self, code, answer):
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        Forgetful.asked += 1
        self.say(202, {"action": "forget", "request": 5})

    def do_GET(self):
        Forgetful.looks += 1
        lived = min(Forgetful.asked, 1)
        # Somebody else's request has the number after the restart.
        self.say(200, {"now_ms": 1000 + lived, "uptime_ms": 10,
                       "forget": {"serial": 4 + lived, "done": 0}})


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
            config["features"].append({"name": "user", "group": "profile",
                                       "dimension": 4, "path": "user_id",
                                       "table": "people"})
            self.config = merge(config, {
                "kafka.brokers": broker.brokers,
                "http.token": self.token(TOKEN),
                "ingest.journal_keep": False,
                "learner.checkpoint_seconds": 3600,
                "learner.shadow": [{"name": "lr", "kind": "lr"}]})
            self.daemon = Daemon(self.interestd,
                                 os.path.join(self.folder, "d"), self.config)
            try:
                self.steps.run("fill, train, publish", self.fill)
                self.steps.run("inspect sequence", self.inspect_sequence)
                self.steps.run("forget, killed at once", self.forget_killed)
                self.steps.run("no byte is left", self.search)
                self.steps.run("it begins anew", self.begin_anew)
                self.steps.run("lost before its commit", self.lost)
                self.steps.run("without a daemon", self.offline)
                self.steps.run("rebuilt with the decisions", self.rebuild)
            finally:
                self.daemon.end()

    def token(self, text):
        path = os.path.join(self.folder, f"token-{len(text)}")
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return f"file:{path}"

    def send(self, seed, pages):
        with topics.Client(self.broker.brokers) as client:
            self.events += stream.Stream(seed, pages).send(client)

    def fill(self):
        self.send(3, self.pages)
        self.daemon.start()
        self.daemon.wait_trained(self.events, 300)
        self.daemon.wait(lambda s: s["publish"]["version"] > 0, "a version")
        sequences = [json.loads(line)
                     for line in self.daemon.inspect("sequences")]
        waiting = [json.loads(line) for line in self.daemon.inspect("waiting")]
        many = {user["user"]: len(user["behaviors"]) for user in sequences}
        # Who waits, and clicked: as much of them as there can be.
        names = {f"{id_of('user', f'u{n}'):016x}": f"u{n}" for n in range(300)}
        both = [w["user"] for w in waiting if w["user"] in many]
        check(both, "nobody waits and has a sequence")
        self.id = max(both, key=many.get)
        self.user, self.behaviors = names[self.id], many[self.id]
        self.waits = sum(w["user"] == self.id for w in waiting)
        self.other = next(u for u in many if u != self.id)
        self.other_name = names[self.other]
        say(f"  {self.user}: {self.behaviors} behaviors, {self.waits} waiting")

    def inspect_sequence(self):
        for asked in (self.user, self.id):
            lines = self.daemon.inspect("sequence", asked)
            check(len(lines) == 1 + self.behaviors, f"{asked}: {lines[:2]}")
            check(self.id in lines[0] and " UTC " in lines[1], lines[:2])
            line, = self.daemon.inspect("sequence", asked, "--json")
            found = json.loads(line)
            check(found["user"] == self.id and
                  len(found["behaviors"]) == self.behaviors, line)
        done = self.daemon.call("inspect", "sequence", "nobody at all")
        check(done.returncode == UNKNOWN and "not known" in done.stderr,
              f"{done.returncode}: {done.stderr}")

    # ---- what holds bytes ------------------------------------------------

    def files(self):
        """Checkpoints and versions; the store is asked through inspect, for
        its freed pages are not promised."""
        state = self.daemon.config["state"]
        found = []
        for top in (os.path.join(state, name) for name in os.listdir(state)):
            if os.path.basename(top) != "store" and os.path.isdir(top):
                found += glob.glob(os.path.join(top, "**", "*"),
                                   recursive=True)
        found += glob.glob(os.path.join(self.daemon.config["model_folder"],
                                        "**", "*"), recursive=True)
        return [path for path in found if os.path.isfile(path)]

    def places(self, name):
        """Files and views in which the user can be found."""
        ids = [id_of(table, name) for table in ("user", "people")]
        raw = [struct.pack("<Q", x) for x in ids]
        found = []
        for path in self.files():
            with open(path, "rb") as file:
                data = file.read()
            if any(x in data for x in raw):
                found.append(os.path.relpath(path, self.daemon.folder))
        for view in ("sequences", "samples", "waiting", "ledger", "meta"):
            text = "\n".join(self.daemon.inspect(view))
            if any(f"{x:016x}" in text for x in ids) or f'"{name}"' in text:
                found.append(view)
        letters = "\n".join(self.daemon.inspect("dead-letters"))
        if name.encode().hex() in letters:
            found.append("dead-letters")
        return found

    def status(self):
        return self.daemon.wait(lambda s: True, "status")

    def forget_killed(self):
        before = self.status()
        held = self.places(self.user)
        say(f"  held in {held}")
        check({"sequences", "samples", "waiting"} <= set(held) and
              any("ck-" in place for place in held) and
              any("v" in place for place in held), f"held only in {held}")
        wrong = self.daemon.call("forget", self.user, "--set", "http.token="
                                 + self.token("something-else-it-is"))
        check(wrong.returncode == 77, f"a wrong token: {wrong.returncode}")
        done = self.daemon.call("forget", self.id, "--ids")
        check(done.returncode == 64 and "people" in done.stderr,
              f"{done.returncode}: {done.stderr}")
        done = self.daemon.call("forget", self.user, "--purge")
        check(done.returncode == 0, f"{done.returncode}: {done.stderr}")
        request = json.loads(done.stdout)["request"]
        self.daemon.wait(lambda s: s["forget"]["serial"] >= request,
                         "the state to forget")
        self.daemon.kill()
        self.daemon.start()
        done = self.daemon.call("forget", "--wait", "--json")
        check(done.returncode == 0, f"{done.returncode}: {done.stderr}")
        self.proof = proof = json.loads(done.stdout)
        say(f"  {done.stderr.strip()}")
        forget = proof["forget"]
        check(forget["users"] == 1 and forget["sequences"] == 1 and
              forget["offsets"] == self.waits, forget)
        check(proof["journal_begin"] >= forget["first"], proof)
        for name, model in proof["models"].items():
            check(model["oldest_checkpoint"] >= forget["position"],
                  f"{name}: {model}")
        check(proof["version_position"] >= forget["position"] and
              proof["unaccounted"] == 0, proof)
        check(len(proof["versions"]) == 1, proof["versions"])
        after = self.status()["ingest"]["buckets"]
        was = before["ingest"]["buckets"]
        check(after["forgotten"] == self.waits and
              after["waiting"] == was["waiting"] - self.waits,
              f"{was} became {after}")
        check(sum(after.values()) == sum(was.values()), "an offset is lost")

    def search(self):
        held = self.places(self.user)
        check(not held, f"{self.user} is still in {held}")
        others = self.places(self.other_name)
        check("sequences" in others and any("ck-" in p for p in others),
              f"{self.other_name} is only in {others}: the search is blind")
        decisions = [json.loads(x) for x in self.daemon.inspect("decisions")]
        kept = [x for x in decisions if x["kind"] == "forget"]
        check(kept and kept[0]["text"].startswith(self.id), kept)
        done = self.daemon.call("inspect", "sequence", self.user)
        check(done.returncode == UNKNOWN, f"exit status {done.returncode}")

    def begin_anew(self):
        at = stream.T0 + 10 * 24 * 3600 * stream.SECOND
        with topics.Client(self.broker.brokers) as client:
            for number in range(3):
                record = {"impression_id": None, "user_id": self.user,
                          "event_ms": at + number, "goods": "g1",
                          "shop": "s1", "cate": "c1"}
                client.send("clicks", stream.encode(1, record),
                            key=self.user.encode(), partition=0,
                            timestamp_ms=at + number)
        self.events += 3
        self.daemon.wait(lambda s: s["ingest"]["events"] >= self.events,
                         "the clicks")
        line, = self.daemon.inspect("sequence", self.user, "--json")
        found = json.loads(line)
        check(found["next_ordinal"] == 3 and len(found["behaviors"]) == 3,
              line)

    def lost(self):
        daemon = Daemon(self.interestd, os.path.join(self.folder, "lost"),
                        self.config)
        state = daemon.config["state"]
        os.makedirs(os.path.join(state, "store"))
        server = http.server.HTTPServer(("127.0.0.1", 0), Forgetful)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open(os.path.join(state, "http.port"), "w") as file:
            file.write(f"{server.server_address[1]}\n")
        with open(os.path.join(state, "store", "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = daemon.call("forget", "somebody")
        server.shutdown()
        check(done.returncode == 0, f"{done.returncode}: {done.stderr}")
        check(Forgetful.asked == 2 and Forgetful.looks >= 3 and
              "once more" in done.stderr,
              f"asked {Forgetful.asked} times: {done.stderr}")

    def offline(self):
        self.daemon.stop()
        names = os.path.join(self.folder, "names")
        with open(names, "w") as file:
            file.write(f"{self.other_name}\n\nsomebody new\n")
        done = self.daemon.call("forget", self.user, "--file", names, "--wait")
        check(done.returncode == 75, f"{done.returncode}: {done.stderr}")
        check("forgot 3 users: sequences 2" in done.stdout, done.stdout)
        for name in (self.user, self.other_name):
            done = self.daemon.call("inspect", "sequence", name)
            check(done.returncode == UNKNOWN, f"exit {done.returncode}")
        self.daemon.start()
        done = self.daemon.call("forget", "--wait")
        check(done.returncode == 0, f"{done.returncode}: {done.stderr}")
        check("versions kept: v" in done.stdout and
              "model lr: oldest checkpoint" in done.stdout, done.stdout)
        check(not [p for p in self.places(self.other_name) if "/v" not in p],
              f"{self.other_name} is still there")

    def rebuild(self):
        self.daemon.stop()
        decisions = os.path.join(self.folder, "decisions")
        self.daemon.inspect_to("decisions", decisions)
        again = Daemon(self.interestd, os.path.join(self.folder, "again"),
                       self.config, **{"ingest.decisions": decisions})
        try:
            again.start()
            again.wait_trained(self.events, 300)
            again.stop()
            for view in ("ledger", "sequences"):
                check(again.inspect(view) == self.daemon.inspect(view),
                      f"{view} differ")
            chains = [json.loads(daemon.inspect("meta")[0])["chain"]
                      for daemon in (self.daemon, again)]
            check(chains[0] == chains[1], f"chains {chains}")
            weights = [daemon.checkpoint() for daemon in (self.daemon, again)]
            check(weights[0]["position"] == weights[1]["position"] and
                  weights[0]["digest"] == weights[1]["digest"],
                  "the weights differ")
        finally:
            again.end()


def test(arguments, folder):
    Test(arguments, folder).run()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    options.add_argument("--pages", type=int, default=1500)
    paths.main(test, options)
