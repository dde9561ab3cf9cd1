# SPDX-License-Identifier: Apache-2.0
"""`interestd broker`, the mock cluster, as a process of the test."""

import subprocess

from daemon import Failure


class Broker:
    """Use as a context manager."""

    def __init__(self, interestd, topics, brokers=1):
        self.process = subprocess.Popen(
            [interestd, "broker", "--stdin", "--brokers", str(brokers),
             "--topics", topics], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if not line.startswith("bootstrap="):
            self.__exit__()
            raise Failure(f"interestd broker said: {line!r}")
        self.brokers = line.removeprefix("bootstrap=")

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if answer != "ok":
            raise Failure(f"broker: {command}: {answer}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(20)
        self.process.stdin.close()
        self.process.stdout.close()
