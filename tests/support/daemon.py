# SPDX-License-Identifier: Apache-2.0
"""One interestd under test: its configuration, process, status and what
`interestd inspect` says of its state. Tests fork the real program, read its
answers and kill it; nothing here reaches into its files."""

import copy
import json
import os
import random
import subprocess
import time
import urllib.error
import urllib.request

import yaml


class Failure(AssertionError):
    """What the test set out to show is not so."""


def check(condition, text):
    if not condition:
        raise Failure(text)


def merge(config, changes):
    """A copy of the configuration with dotted keys set."""
    config = copy.deepcopy(config)
    for name, value in changes.items():
        at = config
        *path, last = name.split(".")
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return config


def load_config(path, **changes):
    """A configuration file, its schemas' paths made absolute."""
    with open(path, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    folder = os.path.dirname(os.path.abspath(path))
    for section, name in (("impressions", "schema"), ("clicks", "schema")):
        if name in config.get(section, {}):
            config[section][name] = os.path.normpath(
                os.path.join(folder, config[section][name]))
    return config


class Daemon:
    """A state of its own in `folder`, and the process that works on it."""

    def __init__(self, interestd, folder, config, **changes):
        self.interestd, self.folder = interestd, folder
        os.makedirs(folder, exist_ok=True)
        self.config = merge(config, {
            "state": os.path.join(folder, "state"),
            "model_folder": os.path.join(folder, "model"),
            # A test takes far less of the disk than its caps allow.
            "ingest.disk_check": False,
            "http.listen": "127.0.0.1", "http.port": 0, **changes})
        self.path = os.path.join(folder, "config.yaml")
        with open(self.path, "w", encoding="utf-8") as file:
            yaml.safe_dump(self.config, file, sort_keys=False)
        self.log_path = os.path.join(folder, "log")
        self.process = None
        self.kills = 0

    # ---- the process ---------------------------------------------------

    def command(self, name, *arguments, config=True):
        chosen = ["--config", self.path] if config else []
        return [self.interestd, name, *chosen, *arguments]

    def call(self, name, *arguments, config=True, **options):
        """Runs a command to its end; returns the CompletedProcess."""
        return subprocess.run(self.command(name, *arguments, config=config),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=1800, **options)

    def start(self, *arguments):
        port = os.path.join(self.config["state"], "http.port")
        if os.path.exists(port):
            os.unlink(port)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command("run", *arguments),
                                            stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)

    def log(self, size=3000):
        with open(self.log_path, errors="replace") as file:
            return file.read()[-size:]

    def alive(self):
        if self.process.poll() is not None:
            raise Failure(f"interestd ended by itself with exit status "
                          f"{self.process.returncode}:\n{self.log()}")

    def kill(self):
        """kill -9"""
        self.alive()
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def stop(self, timeout=120):
        """SIGTERM; it ends with 0 when all is written."""
        self.alive()
        self.process.terminate()
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"interestd did not stop in {timeout} s:\n"
                          f"{self.log()}") from None
        check(status == 0, f"exit status {status} after SIGTERM:\n"
                           f"{self.log()}")

    def end(self):
        """For the way out of a test, whatever happened."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def peak_memory(self):
        """VmHWM in MiB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        return 0.0

    # ---- status --------------------------------------------------------

    def url(self, path):
        with open(os.path.join(self.config["state"], "http.port")) as file:
            return f"http://127.0.0.1:{int(file.read())}{path}"

    def status(self):
        """What /status says, None while it does not answer yet."""
        try:
            with urllib.request.urlopen(self.url("/status"),
                                        timeout=10) as answer:
                return json.load(answer)
        except (OSError, ValueError, urllib.error.URLError):
            return None

    def page(self, path):
        """The text of an HTTP page."""
        with urllib.request.urlopen(self.url(path), timeout=10) as answer:
            return answer.read().decode()

    def wait(self, condition, what, timeout=600):
        """Until condition(status) holds; returns that status."""
        end = time.monotonic() + timeout
        pause, status = 0.01, None
        while time.monotonic() < end:
            self.alive()
            status = self.status()
            if status and condition(status):
                return status
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
        raise Failure(f"waited {timeout} s for {what}; status: "
                      f"{json.dumps(status)[:2000]}\n{self.log()}")

    def wait_applied(self, events, timeout=600):
        """Until that many events are applied and committed."""
        return self.wait(lambda s: s["ingest"]["events"] >= events
                         and s["ingest"]["at_end"],
                         f"{events} events", timeout)

    def wait_trained(self, events, timeout=1200):
        """Until they are applied and every closed batch is trained."""
        return self.wait(lambda s: s["ingest"]["events"] >= events
                         and s["ingest"]["at_end"]
                         and s["learner"]["position"]
                         >= s["ingest"]["batch_end"],
                         f"{events} events trained", timeout)

    # ---- state ---------------------------------------------------------

    def inspect(self, what, *arguments):
        """Lines of `interestd inspect`."""
        done = self.call("inspect", what, *arguments)
        check(done.returncode == 0,
              f"inspect {what}: exit status {done.returncode}: {done.stderr}")
        return done.stdout.splitlines()

    def inspect_to(self, what, path):
        """The same into a file; for what is large."""
        with open(path, "w") as file:
            done = subprocess.run(
                [self.interestd, "inspect", what, "--config", self.path],
                stdout=file, stderr=subprocess.PIPE, text=True)
        check(done.returncode == 0,
              f"inspect {what}: exit status {done.returncode}: {done.stderr}")

    def checkpoint(self):
        return json.loads("\n".join(self.inspect("checkpoint")))


STATE_VIEWS = ("ledger", "sequences", "samples")


def dump(daemon, folder):
    """Everything that must be equal between two runs, into files. The reasons
    of dead letters stand apart: the model does not know them."""
    os.makedirs(folder, exist_ok=True)
    for what in STATE_VIEWS[1:]:
        daemon.inspect_to(what, os.path.join(folder, what))
    lines = daemon.inspect("ledger")
    for what, chosen in (("ledger", False), ("reasons", True)):
        with open(os.path.join(folder, what), "w") as file:
            file.writelines(line + "\n" for line in lines
                            if line.startswith('{"reasons"') == chosen)


def compare(title, first, second):
    """Two folders of dump() or of the model; the first line that differs is
    told."""
    views = [what for what in (*STATE_VIEWS, "reasons")
             if all(os.path.exists(os.path.join(folder, what))
                    for folder in (first, second))]
    check(set(STATE_VIEWS) <= set(views), f"{title}: views are missing")
    for what in views:
        lines = 0
        with open(os.path.join(first, what)) as a, \
                open(os.path.join(second, what)) as b:
            while True:
                left, right = a.readline(), b.readline()
                if left != right:
                    raise Failure(f"{title}: {what} differ in line "
                                  f"{lines + 1}:\n  {left[:600].strip()}\n"
                                  f"  {right[:600].strip()}")
                if not left:
                    break
                lines += 1
        print(f"  {title}: {what} equal, {lines} lines", flush=True)


def kill_again_and_again(daemon, kills, events, samples, seed):
    """kill -9 at random moments of a run over `events` events and `samples`
    samples, each followed by a restart; the last start goes on to the end.
    Most moments are drawn over what the run has to do (it starts slower than
    it works), every fourth hits the start itself. Returns (applied events,
    trained position) at each kill as far as it was known."""
    rng = random.Random(seed)
    targets = sorted(rng.uniform(0, 0.97) for _ in range(kills))
    places, seen = [], (0, 0)
    daemon.start()
    for number, target in enumerate(targets):
        if number % 4 == 3:
            time.sleep(rng.uniform(0, 0.5))
        else:
            end = time.monotonic() + 600
            while time.monotonic() < end:
                daemon.alive()
                status = daemon.status()
                if status:
                    seen = (status["ingest"]["events"],
                            status["learner"]["position"])
                if status and sum(seen) >= target * (events + samples):
                    break
                time.sleep(0.003)
            # Anywhere between two commits.
            time.sleep(rng.uniform(0, 0.1))
        daemon.kill()
        places.append(seen)
        daemon.start()
    return places
