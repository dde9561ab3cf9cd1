# SPDX-License-Identifier: Apache-2.0
"""A daemon that dies again and again over one stream, and what it must leave.

The stream comes in slices, one before each life. A slice begins in every
partition with a record later than all before it, so that no partition's
silence is ever decided by a clock: the outcome is a function of the logs, and
tests/model/state_model.py says which."""

import collections
import http.server
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import threading
import time

from board import Board
import container
from broker import Broker
from daemon import Daemon, Failure, check, compare, dump, merge
import state_model
import stream
import topics

PARTITIONS = 2
TOPICS = (f"impressions:{PARTITIONS},clicks:{PARTITIONS},"
          "model-announcements:1")
SMALL = {"mlp_hidden_1": 12, "mlp_hidden_2": 8, "attention_hidden_1": 8,
         "attention_hidden_2": 6}
SLICE_PAGES = 16
HANG_S = 60
CHECKER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..",
                       "snapshot", "check_snapshot.py")


class Registry:
    """Answers with the impression's schema to even ids, the click's to odd
    ones."""

    def __init__(self):
        texts = [stream.schema_text(name)
                 for name in ("impression.avsc", "click.avsc")]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                number = int(self.path.rstrip("/").rsplit("/", 1)[1])
                body = json.dumps({"schema": texts[number % 2]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except OSError:
                    pass # who asked is dead

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0),
                                                      Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever,
                         daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Slices:
    """The stream, a slice at a time."""

    def __init__(self, seed, count, framed):
        self.framed, self.number, self.sent = framed, 0, 0
        records = stream.Stream(seed, count * SLICE_PAGES).in_order()
        size = len(records) // count + 1
        self.slices = [records[i:i + size]
                       for i in range(0, len(records), size)]

    def _encode(self, topic, record):
        value = stream.encode(topic, record)
        if not self.framed:
            return value
        return b"\0" + struct.pack(">I", 2 * self.number + topic) + value

    def _first(self, at):
        """A record for each partition, at a time that is new to all."""
        item = {"goods": "g1", "shop": "s1", "cate": "c1"}
        for partition in range(PARTITIONS):
            user = f"u{1000 + partition}"
            yield 0, partition, user, at, {
                "impression_id": f"first{self.number}-{partition}",
                "pid": "p0", "gender": None, "age_level": None,
                "user_id": user, "event_ms": at, **item}
            yield 1, partition, user, at, {
                "impression_id": None, "user_id": user, "event_ms": at,
                **item}

    def send(self, client):
        """False once all are sent."""
        if self.number == len(self.slices):
            return False
        records = self.slices[self.number]
        start = self.slices[self.number - 1][-1][2] + 1 if self.number else \
            records[0][2]
        lines = [*self._first(start)]
        for topic, user, kafka_ms, record in records:
            stray = topic == 1 and record["event_ms"] % 50 == 0
            lines.append((topic, (int(user[1:]) + stray) % PARTITIONS, user,
                          max(kafka_ms, start + 1), record))
        for topic, partition, user, kafka_ms, record in lines:
            client.send(stream.TOPICS[topic], self._encode(topic, record),
                        key=user.encode(), timestamp_ms=kafka_ms,
                        partition=partition)
        client.flush()
        self.number += 1
        self.sent += len(lines)
        return True


def stacks(pid):
    """What each thread of a process that hangs is doing."""
    done = subprocess.run(
        ["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 12"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        stdin=subprocess.DEVNULL, check=False) if os.path.exists(
            "/usr/bin/gdb") else None
    if done and "#0" in done.stdout:
        return "stack trace:\n" + "\n".join(
            line for line in done.stdout.splitlines()
            if line.startswith(("#", "Thread")))[-6000:]
    lines = []
    for task in sorted(os.listdir(f"/proc/{pid}/task")):
        words = []
        for name in ("comm", "wchan", "syscall"):
            try:
                with open(f"/proc/{pid}/task/{task}/{name}") as file:
                    words.append(file.read().strip())
            except OSError:
                words.append("?")
        lines.append(" ".join(words))
    return "stack trace (thread, kernel place, call):\n" + "\n".join(lines)


Life = collections.namedtuple("Life", "plan status fired recovery seconds")


class Lane:
    """Use as a context manager."""

    def __init__(self, interestd, library, folder, seed, slices, framed,
                 **changes):
        self.interestd, self.library, self.folder = interestd, library, folder
        self.framed = framed
        os.makedirs(folder)
        self.board = Board(os.path.join(folder, "board"))
        self.slices = Slices(seed, slices, framed)
        self.lives, self.versions = [], {}
        self.current = ""
        self.silent = set() # epochs whose log could not be written
        self.odd = [] # exit statuses that do not tell the cause
        self.fired = collections.Counter()
        self.changes = changes
        self.registry = Registry() if framed else None
        self.log_at = 0

    def __enter__(self):
        self.broker = Broker(self.interestd, TOPICS)
        self.client = topics.Client(self.broker.brokers, **{"linger.ms": 0})
        self.config = self._config()
        self.root = os.path.join(self.folder, "lane")
        self.daemon = Daemon(self.interestd, self.root, self.config)
        return self

    def __exit__(self, *_):
        self.daemon.end()
        self.client.__exit__()
        self.broker.__exit__()
        if self.registry:
            self.registry.close()
        self.board.close()

    def _config(self):
        config = merge(stream.config(), {
            "kafka.brokers": self.broker.brokers, "log.level": "debug",
            "ingest.commit_events": 40, "ingest.commit_ms": 20,
            "ingest.idle_ms": 10, "ingest.map_mb": 256,
            "learner.batch_size": 16, "learner.dimension": 4,
            "learner.checkpoint_seconds": 0, "publish.delta_ms": 40,
            "publish.versions_kept": 3, "publish.golden_requests": 2,
            **{"learner." + key: value for key, value in SMALL.items()},
            **self.changes})
        if self.framed:
            config["registry"] = {"url": self.registry.url}
            for topic in stream.TOPICS:
                config[topic]["framing"] = "confluent"
                config[topic].pop("schema", None)
        return config

    # ---- one life ----------------------------------------------------------

    def spawn(self, plan="", **options):
        self.board.clear()
        port = os.path.join(self.daemon.config["state"], "http.port")
        if os.path.exists(port):
            os.unlink(port)
        environment = {**os.environ, "LD_PRELOAD": self.library,
                       **self.board.environment(self.root, plan)}
        with open(self.daemon.log_path, "ab") as log:
            self.daemon.process = subprocess.Popen(
                self.daemon.command("run"), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env=environment, **options)
        return self.daemon.process

    def wait(self, seconds, until=None):
        """Until the process ends, until() holds, or time is up; returns its
        exit status or None."""
        process = self.daemon.process
        end = time.monotonic() + seconds
        if process.poll() is not None:
            return process.returncode
        fd = os.pidfd_open(process.pid)
        try:
            while process.poll() is None:
                left = end - time.monotonic()
                if left <= 0 or (until and until()):
                    return None
                select.select([fd], [], [],
                              min(left, 0.01) if until else left)
            return process.returncode
        finally:
            os.close(fd)

    def killed(self, plan, patience, asked):
        """A life that the plan ends; where it does not come true in
        `patience` seconds of work, a kill -9 does. `asked`: it is on its way
        out, where the last checkpoint and version are written."""
        begin = time.monotonic()
        self.slices.send(self.client)
        process = self.spawn(plan)
        with open(self.daemon.log_path, "a") as log:
            log.write(f"test: life {len(self.lives)} plan {plan}\n")
        status = self.wait(HANG_S, lambda: self.board.stored)
        if status is None and not self.board.stored:
            raise self.hangs(plan, "has committed nothing")
        if status is None and asked:
            process.terminate()
        if status is None:
            status = self.wait(patience)
        if status is None:
            process.kill()
            status = process.wait()
        return self.end(plan, status, begin)

    def hangs(self, plan, what):
        return Failure(f"plan {plan}: {what} {HANG_S} s\n"
                       f"{stacks(self.daemon.process.pid)}\n"
                       f"{self.daemon.log()}")

    def end(self, plan, status, begin):
        check(self.board.loaded, "the fault library was not preloaded")
        life = Life(plan, status, self.board.fired, self.board.recovery,
                    time.monotonic() - begin)
        self.lives.append(life)
        if life.fired:
            point, _, action = plan.split(":")
            self.fired[f"{point}:{action}"] += 1
        self.note_versions()
        if plan.startswith("write.log") and self.versions:
            self.silent.add(max(self.versions)[0])
        return life

    def die_by(self, plan, patience, asked=False):
        life = self.killed(plan, patience, asked)
        check(life.status == -signal.SIGKILL or (asked and life.status == 0),
              f"plan {plan}: exit status {life.status}\n{self.daemon.log()}")
        return life

    def failing(self, plan, patience, allowed):
        """A life in which a call fails. It goes on, and ends in order when
        asked; or it ends by itself with a status of `allowed`."""
        begin = time.monotonic()
        self.slices.send(self.client)
        process = self.spawn(plan)
        status = self.wait(HANG_S, lambda: self.board.stored)
        # A start that does not get there by itself must end when asked.
        if status is None:
            status = self.wait(patience)
        if status is None:
            process.terminate()
            status = self.wait(HANG_S + 10)
            if status is None:
                raise self.hangs(plan, "is still there after SIGTERM,")
        # A SIGTERM that comes when it has failed and is stopping already.
        if status == 128 + signal.SIGTERM and \
                b"event=thread_failed" in self.log_since():
            status = 0
        if status not in allowed:
            self.odd.append(f"plan {plan} (came true {self.board.fired} "
                            f"times): exit status {status}\n"
                            f"{self.daemon.log(1500)}")
        return self.end(plan, status, begin)

    def calm(self):
        """An undisturbed life to the end of the logs and to a version of it;
        returns the calls of each point."""
        self.slices.send(self.client)
        self.spawn()
        self.daemon.wait_trained(self.slices.sent, 120)
        self.daemon.stop()
        self.note_versions()
        return self.board.hits()

    def log_since(self):
        """What the life that has just ended said."""
        with open(self.daemon.log_path, "rb") as file:
            file.seek(self.log_at)
            return file.read()

    # ---- versions ----------------------------------------------------------

    def note_versions(self):
        """What is current, and what the log says was published, is
        committed for good."""
        path = os.path.join(self.daemon.config["model_folder"], "CURRENT")
        names = []
        log = self.log_since()
        self.log_at += len(log)
        names += re.findall(rb"event=published folder=(\S+)", log)
        if os.path.exists(path):
            with open(path, "rb") as file:
                self.current = file.read().split()[0].decode()
            names.append(self.current.encode())
        before = max(self.versions, default=(0, 0))
        for name in names:
            epoch, version = map(int, name.decode()[1:].split("-"))
            self.versions[(epoch, version)] = name.decode()
        now = tuple(map(int, self.current[1:].split("-"))) if self.current \
            else (0, 0)
        check(now >= before, f"CURRENT went back from {before} to {now}")

    def check_current(self):
        """The current version is whole: every hash, every golden score,
        computed by a program of the tests."""
        if not self.current:
            return
        done = subprocess.run(
            [sys.executable, "-B", CHECKER,
             self.daemon.config["model_folder"]], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False)
        check(done.returncode == 0,
              f"{self.current}: {done.stdout[-2000:]}")

    def check_announced(self):
        """Each version that was ever committed is announced, and none after
        a newer one."""
        with open(os.path.join(stream.SCHEMAS,
                               "announcement.avsc")) as file:
            schema = json.load(file)
        seen = []
        for _, _, value in topics.read_log(self.broker.brokers,
                                           "model-announcements", 0):
            record = container.decode_record(schema, value)
            seen.append((record["epoch"], record["version"]))
        for older, newer in zip(seen, seen[1:]):
            check(newer >= older, f"{newer} announced after {older}: {seen}")
        missing = sorted(set(self.versions) - set(seen))
        check(not missing, f"{len(missing)} of {len(self.versions)} versions "
              f"were never announced, the first is {missing[:1]}")
        foreign = sorted(x for x in set(seen) - set(self.versions)
                         if x[0] not in self.silent)
        check(not foreign, f"announced, never current: {foreign[:5]}")
        return len(set(seen))

    # ---- the end -----------------------------------------------------------

    def fsck(self):
        done = self.daemon.call("fsck")
        check(done.returncode == 0, f"fsck: exit status {done.returncode}: "
                                    f"{done.stdout[-1500:]}{done.stderr}")

    def logs(self):
        logs = topics.read_logs(self.broker.brokers, stream.TOPICS)
        if not self.framed:
            return logs
        return {key: [(offset, at, value[5:]) for offset, at, value in log]
                for key, log in logs.items()}

    def finish(self):
        """The last life, against the model and against a run that nothing
        disturbed."""
        while self.slices.send(self.client):
            pass
        self.spawn()
        status = self.daemon.wait_trained(self.slices.sent, 300)["ingest"]
        self.daemon.stop()
        self.note_versions()
        for name in ("unaccounted", "floored_records", "clamped_records"):
            check(status[name] == 0, f"{name}: {status[name]}")
        self.fsck()
        self.check_current()
        announced = self.check_announced()
        check(not self.odd, f"{len(self.odd)} exit statuses are wrong:\n" +
              "\n".join(self.odd))
        weights = self._compare()
        return {"events": self.slices.sent, "versions": len(self.versions),
                "announced": announced, "digest": weights}

    def _compare(self):
        # The records without their frames: pinned schemas.
        plain = {**self.config, **{topic: stream.config()[topic]
                                   for topic in stream.TOPICS}}
        expected = os.path.join(self.folder, "model")
        state_model.run(plain, "/", self.logs(), expected)
        straight = Daemon(self.interestd,
                          os.path.join(self.folder, "straight"), self.config,
                          **{"ingest.journal_keep": True,
                             "publish.delta_ms": 0})
        try:
            straight.start()
            straight.wait_trained(self.slices.sent, 300)
            straight.stop()
        finally:
            straight.end()
        out = [os.path.join(self.folder, name)
               for name in ("lane-out", "straight-out")]
        for daemon, folder in zip((self.daemon, straight), out):
            dump(daemon, folder)
        compare("model and undisturbed run", expected, out[1])
        if not self.config["ingest"]["journal_keep"]:
            self._keep_end(os.path.join(expected, "samples"),
                           os.path.join(out[0], "samples"))
        compare(f"model and {len(self.lives)} lives", expected, out[0])
        found, wanted = self.daemon.checkpoint(), straight.checkpoint()
        for name in ("position", "digest"):
            check(found[name] == wanted[name],
                  f"weights: {name} {found[name]}, undisturbed "
                  f"{wanted[name]}")
        return found["digest"]

    def _keep_end(self, expected, found):
        """Of a trimmed journal only the end can be compared; after a few
        lives nothing is trimmed yet."""
        with open(found) as file:
            kept = sum(1 for _ in file)
        with open(expected) as file:
            lines = file.readlines()
        check(0 < kept < len(lines) or len(self.lives) < 40, f"{kept} of {len(lines)} samples are "
                                     "kept: nothing was trimmed")
        with open(expected, "w") as file:
            file.writelines(lines[-kept:])
