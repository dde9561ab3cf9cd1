#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MovieLens 100k through the mock cluster, which keeps less of a partition
than the data hold: `interestd replay` sends at full speed, yet never runs
further ahead of the daemon than the cluster keeps. Every impression and every
click ends where it must. Exit status 77 where the data are absent."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from daemon import Daemon, check, load_config, merge
from paths import Steps, say
import movielens

TOPICS = "impressions:2,clicks:2,model-announcements:1"


def adapt(folder):
    done = subprocess.run(
        [sys.executable, "-B", movielens.__file__, folder],
        stdout=subprocess.PIPE, text=True, check=True)
    say(f"  {done.stdout.strip()}")
    words = done.stdout.split()
    return int(words[1]), int(words[3])


def through(interestd, folder, data, impressions, clicks):
    with Broker(interestd, TOPICS) as broker:
        config = merge(load_config(os.path.join(
            paths.TESTS, "adapters", "movielens.yaml")), {
                "kafka.brokers": broker.brokers, "learner.flush_ms": 0})
        daemon = Daemon(interestd, os.path.join(folder, "daemon"), config)
        try:
            daemon.start()
            daemon.wait(lambda status: True, "an answer", 60)
            sent = daemon.call(
                "replay", "--impressions",
                os.path.join(data, "impressions.avro"), "--clicks",
                os.path.join(data, "clicks.avro"), "--speed", "max")
            check(sent.returncode == 0, f"replay: {sent.stderr}")
            status = daemon.wait_trained(impressions + clicks, 300)
            daemon.stop()
        finally:
            daemon.end()
    buckets = status["ingest"]["buckets"]
    used = {name: count for name, count in buckets.items() if count}
    say(f"  {used}")
    check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
    check(buckets["joined_click"] == clicks, f"{clicks} clicks: {used}")
    check(buckets["positive"] + buckets["negative"] + buckets["waiting"] ==
          impressions, f"{impressions} impressions: {used}")


def test(arguments, folder):
    data, steps = os.path.join(folder, "data"), Steps()
    impressions, clicks = steps.run("adapter", adapt, data)
    steps.run("through the mock cluster", through, arguments.interestd,
              folder, data, impressions, clicks)


if __name__ == "__main__":
    if not os.path.exists(os.path.join(movielens.DATA, "ml-100k.inter")):
        say("SKIPPED: MovieLens (shared/data/ml-100k) is not here")
        sys.exit(77)
    paths.main(test)
