# SPDX-License-Identifier: Apache-2.0
"""Import first in an end-to-end test: puts the folders of the Python helpers
on the path, gives each test a folder of its own, and turns what goes wrong
into words and an exit status (77: not possible here)."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback

TESTS = os.path.normpath(os.path.join(os.path.dirname(
    os.path.abspath(__file__)), ".."))
for _folder in ("support", "model", "adapters"):
    sys.path.insert(0, os.path.join(TESTS, _folder))


def say(text):
    print(text, flush=True)


class Steps:
    """Names of what is being shown, each with the seconds it took."""

    def __init__(self):
        self.seconds = {}

    def run(self, name, function, *arguments):
        say(f"- {name}")
        begin = time.monotonic()
        result = function(*arguments)
        self.seconds[name] = round(time.monotonic() - begin, 2)
        say(f"  ok, {self.seconds[name]} s")
        return result


def main(test, parser=None):
    """Runs test(arguments, folder); ends the process."""
    from daemon import Failure
    from kafka import Unavailable
    parser = parser or argparse.ArgumentParser()
    parser.add_argument("interestd", help="the program under test")
    parser.add_argument("--keep", action="store_true",
                        help="leave the test's folder behind")
    arguments = parser.parse_args()
    arguments.interestd = os.path.abspath(arguments.interestd)
    folder = tempfile.mkdtemp(prefix="interestd-e2e-")
    status = 1
    # So that brokers and daemons of a test that is told to stop end too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        test(arguments, folder)
        status = 0
    except Failure as failure:
        say(f"FAILED: {failure}")
    except Unavailable as reason:
        say(f"SKIPPED: {reason}")
        status = 77
    except Exception:  # a test's own mistake is a failure too
        traceback.print_exc()
    finally:
        if arguments.keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)
