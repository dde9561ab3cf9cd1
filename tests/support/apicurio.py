# SPDX-License-Identifier: Apache-2.0
"""A schema registry that others wrote, for the tests: Apicurio, fetched
through Maven once, kept in the user's cache folder, on a free port of the
loopback, its schemas in memory; and a virtual environment with PyPI's client
of it, to produce with."""

import glob
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

from kafka import Unavailable, cache_folder, free_ports

VERSION = "2.6.13.Final"
ARTIFACT = f"io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all"
CLIENT = "confluent-kafka[avro,schema-registry]==2.16.0"


def _beside(name):
    return os.path.join(os.path.dirname(cache_folder()), name)


def _run(command, what, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode:
        words = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise Unavailable(f"{what}: {words}")


def fetch():
    """Folder of the unpacked registry."""
    folder = _beside("apicurio-" + VERSION)
    if os.path.isdir(folder):
        return folder
    for program in ("mvn", "java"):
        if not shutil.which(program):
            raise Unavailable(f"{program} is not installed "
                              "(configs/install.sh --tests)")
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder)) as aside:
        _run(["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={ARTIFACT}",
              f"-DoutputDirectory={aside}"],
             f"Maven cannot fetch Apicurio {VERSION}", cwd=aside)
        archive, = glob.glob(os.path.join(aside, "*.tar.gz"))
        unpacked = os.path.join(aside, "unpacked")
        with tarfile.open(archive) as tar:
            tar.extractall(unpacked, filter="data")
        os.rename(unpacked, folder)
    return folder


def client():
    """The interpreter of a virtual environment with the client in it."""
    folder = _beside("registry-client-2.16.0")
    python = os.path.join(folder, "bin", "python")
    if os.path.exists(os.path.join(folder, "complete")):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    _run(["/usr/bin/python3", "-m", "venv", folder],
         "no virtual environment (configs/install.sh --tests)")
    _run([python, "-m", "pip", "install", "-q", CLIENT],
         f"pip cannot install {CLIENT}")
    open(os.path.join(folder, "complete"), "w").close()
    return python


class Registry:
    """A running registry; `url` is that of Confluent's interface. Use as a
    context manager."""

    def __init__(self):
        jars = glob.glob(os.path.join(fetch(), "**", "*-runner.jar"),
                         recursive=True)
        self.jar, = jars
        self.port, = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        self.process = None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="interestd-registry-")
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen(
                ["java", "-Xmx512m", "-XX:+UseSerialGC",
                 "-XX:TieredStopAtLevel=1", "-Dquarkus.http.host=127.0.0.1",
                 f"-Dquarkus.http.port={self.port}", "-jar", self.jar],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=os.path.dirname(self.jar))
        try:
            self._wait(120)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.url + "/subjects", timeout=2)
                return
            except OSError:
                time.sleep(0.2)
        with open(os.path.join(self.folder, "log"), errors="replace") as log:
            raise RuntimeError("Apicurio does not come up:\n" +
                               log.read()[-2000:])

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    try:
        fetch()
        client()
    except Unavailable as reason:
        print(reason, file=sys.stderr)
        sys.exit(77)
