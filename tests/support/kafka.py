#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Apache Kafka for the tests: fetched through Maven once, kept in the user's
cache folder, run as a single KRaft node (or two, for partitions that lag) on
free ports of the loopback in a folder of its own.

As a program it runs a broker until its standard input ends or it is told to
stop, and prints `bootstrap=127.0.0.1:PORT`; with --fetch it only fetches.
Exit status 77: the broker cannot be obtained here, with the reason."""

import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = "3.9.1"
AVRO_VERSION = "1.11.4"
CLUSTER_ID = "aW50ZXJlc3RkLXRlc3RzAA"
JAVA = ["-Xmx768m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
SETTINGS = """\
process.roles={roles}
node.id={node}
controller.quorum.voters=1@127.0.0.1:{controller}
listeners={listeners}
advertised.listeners={advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,\
SSL:SSL,SASL_SSL:SASL_SSL
log.dirs={folder}/data{node}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
log.retention.ms=-1
log.segment.delete.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=500
log.index.size.max.bytes=1048576
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
"""


class Unavailable(RuntimeError):
    """The broker cannot be obtained; says why."""


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "interestd-tests", "kafka-" + VERSION)


def fetch():
    """Folder with the broker's jars, fetched where it is not there yet."""
    folder = cache_folder()
    if glob.glob(os.path.join(folder, "kafka_2.13-*.jar")):
        return folder
    for program in ("mvn", "java"):
        if not shutil.which(program):
            raise Unavailable(f"{program} is not installed "
                              "(configs/install.sh --tests)")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    # Aside and renamed: a fetch that was cut off leaves nothing behind.
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as aside:
        shutil.copy(os.path.join(HERE, "pom.xml"), aside)
        fetched = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies",
             "-DincludeScope=runtime", "-DoutputDirectory=libs"], cwd=aside,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if fetched.returncode:
            words = (fetched.stdout.strip().splitlines() or ["no output"])[0]
            raise Unavailable(f"Maven cannot fetch Kafka {VERSION}: {words}")
        os.rename(os.path.join(aside, "libs"), folder)
    return folder


def fetch_avro():
    """Folder with Avro's jar, for producers in Java; what it needs is among
    the broker's own."""
    folder = os.path.join(os.path.dirname(cache_folder()),
                          "avro-" + AVRO_VERSION)
    if os.path.isdir(folder):
        return folder
    fetch()
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as aside:
        jars = os.path.join(aside, "jars")
        fetched = subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy",
             f"-Dartifact=org.apache.avro:avro:{AVRO_VERSION}",
             f"-DoutputDirectory={jars}"], cwd=aside,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if fetched.returncode:
            words = (fetched.stdout.strip().splitlines() or ["no output"])[0]
            raise Unavailable(f"Maven cannot fetch Avro: {words}")
        os.rename(jars, folder)
    return folder


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Kafka:
    """A running broker, with `slow` (throttle.Throttle) a second one behind
    it, which leads every other partition. `secure`: the settings of further
    listeners by their protocol ("SSL", "SASL_SSL", ..), whose addresses are
    `secure_brokers[protocol]`. Use as a context manager: on the way out all is
    stopped and the folder removed."""

    def __init__(self, slow=None, folder=None, secure=None):
        self.jars = fetch()
        self.secure = secure or {}
        self.secure_brokers = {}
        self.folder = tempfile.mkdtemp(prefix="interestd-kafka-", dir=folder)
        self.slow = slow
        self.processes = []

    def __enter__(self):
        try:
            port, second, controller, *others = \
                free_ports(3 + len(self.secure))
            self.brokers = f"127.0.0.1:{port}"
            self.secure_brokers = {
                protocol: f"127.0.0.1:{other}"
                for protocol, other in zip(self.secure, others)}
            own = ",".join(f"{protocol}://{address}" for protocol, address in
                           [("PLAINTEXT", self.brokers),
                            *self.secure_brokers.items()])
            nodes = [self._settings(
                roles="broker,controller", node=1, advertised=own,
                listeners=f"{own},CONTROLLER://127.0.0.1:{controller}",
                controller=controller)]
            if self.slow:
                self.slow.target = second
                nodes.append(self._settings(
                    roles="broker", node=2,
                    advertised=f"PLAINTEXT://127.0.0.1:{self.slow.port}",
                    listeners=f"PLAINTEXT://127.0.0.1:{second}",
                    controller=controller))
            self.nodes = nodes
            self._format(CLUSTER_ID)
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _format(self, cluster_id):
        for settings in self.nodes:
            if self._java("kafka.tools.StorageTool", "format", "-t",
                          cluster_id, "-c", settings).wait(120):
                raise RuntimeError("Kafka cannot format its storage:\n" +
                                   self.log()[-2000:])

    def start(self):
        """All brokers, with what they held before."""
        self.processes = [self._java("kafka.Kafka", x) for x in self.nodes]
        self._wait(len(self.nodes))

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self):
        """kill -9"""
        for process in self.processes:
            process.kill()
            process.wait()

    def replace(self, cluster_id):
        """Another, empty cluster at the same addresses."""
        self.stop()
        for folder in glob.glob(os.path.join(self.folder, "data*")):
            shutil.rmtree(folder)
        self._format(cluster_id)
        self.start()

    def segment(self, topic, partition):
        """The newest file of a partition's log (of the first broker)."""
        return max(glob.glob(os.path.join(
            self.folder, "data1", f"{topic}-{partition}", "*.log")))

    def _settings(self, node, **values):
        path = os.path.join(self.folder, f"server{node}.properties")
        with open(path, "w") as file:
            file.write(SETTINGS.format(node=node, folder=self.folder,
                                       **values))
            for protocol, settings in self.secure.items():
                name = protocol.lower()
                file.writelines(f"listener.name.{name}.{key}={value}\n"
                                for key, value in settings.items())
        return path

    def _java(self, *command):
        log = open(os.path.join(self.folder, "log"), "ab")
        with log:
            return subprocess.Popen(
                ["java", *JAVA, "-cp", os.path.join(self.jars, "*"), *command],
                stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, cwd=self.folder)

    def configure(self, *arguments):
        """kafka-configs, over the listener without security."""
        if self._java("kafka.admin.ConfigCommand", "--bootstrap-server",
                      self.brokers, *arguments).wait(120):
            raise RuntimeError("kafka-configs fails:\n" + self.log()[-2000:])

    def log(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as file:
            return file.read()

    def _wait(self, count, timeout=120):
        """Until metadata names all brokers."""
        end = time.monotonic() + timeout
        while True:
            asked = subprocess.run(
                ["kcat", "-b", self.brokers, "-L", "-J", "-m", "1"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            if asked.returncode == 0 and \
                    len(json.loads(asked.stdout)["brokers"]) == count:
                return
            if any(x.poll() is not None for x in self.processes) or \
                    time.monotonic() > end:
                raise RuntimeError("Kafka does not start:\n" +
                                   self.log()[-2000:])
            time.sleep(0.1)

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    try:
        if sys.argv[1:] == ["--fetch"]:
            print(f"kafka: {VERSION} in {fetch()}")
            return 0
        with Kafka() as kafka:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            print(f"bootstrap={kafka.brokers}", flush=True)
            sys.stdin.read()
        return 0
    except Unavailable as reason:
        print(f"kafka: SKIPPED: {reason}", file=sys.stderr)
        return 77
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
