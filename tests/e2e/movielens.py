#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""MovieLens 100k through the mock cluster, which keeps less of a partition
than the data hold: `interestd replay` sends at full speed, yet never runs
further ahead of the daemon than the cluster keeps. Every impression and every
click ends where it must, and every sample looked at has the ids that the model
in Python makes of its record: the user's id, an age and a year in buckets,
genres in places, hour and weekday in a group of their own.
Exit status 77 where the data are absent."""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from container import read
from daemon import Daemon, check, load_config, merge
from paths import Steps, say
import events
import movielens

TOPICS = "impressions:2,clicks:2,model-announcements:1"
USER = {"name": "user", "group": "profile", "dimension": 8, "path": "user_id"}
LOOKED_AT = 20_000  # samples


def adapt(folder):
    done = subprocess.run(
        [sys.executable, "-B", movielens.__file__, folder],
        stdout=subprocess.PIPE, text=True, check=True)
    say(f"  {done.stdout.strip()}")
    words = done.stdout.split()
    return int(words[1]), int(words[3])


def known_ids(config, path, topic):
    """(user, event time, ids) of every record."""
    mapping = events.Mapping(topic, config, "/")
    user = events.seed("user")
    return {(events.identify(user, record["user_id"]), record["event_ms"],
             mapping.ids(record)) for record in read(path)}


def check_ids(daemon, data):
    """The first samples of the journal, and their histories, against the
    records."""
    impressions = known_ids(daemon.config, os.path.join(
        data, "impressions.avro"), events.IMPRESSIONS)
    items = {ids for _, _, ids in known_ids(daemon.config, os.path.join(
        data, "clicks.avro"), events.CLICKS)}
    samples = behaviors = 0

    def ids_of(texts):
        return tuple(events.ABSENT if x is None else int(x, 16)
                     for x in texts)
    with subprocess.Popen(daemon.command("inspect", "samples"),
                          stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            sample = json.loads(line)
            if "position" not in sample:
                continue
            key = (int(sample["user"], 16), sample["event_ms"],
                   ids_of(sample["ids"]))
            check(key in impressions, f"no impression has {line[:600]}")
            for behavior in sample["history"][-3:]:
                behaviors += 1
                check(ids_of(behavior) in items, f"no click has {behavior}")
            samples += 1
            if samples == LOOKED_AT:
                process.terminate()
                break
    places = len(next(iter(items)))
    check(samples == LOOKED_AT and behaviors > LOOKED_AT and places == 8,
          f"{samples} samples, {behaviors} behaviors, {places} places")
    say(f"  {samples} samples and {behaviors} behaviors have the ids of their "
        "records")


def through(interestd, folder, data, impressions, clicks):
    with Broker(interestd, TOPICS) as broker:
        config = merge(load_config(os.path.join(
            paths.TESTS, "adapters", "movielens.yaml")), {
                "kafka.brokers": broker.brokers, "learner.flush_ms": 0,
                "ingest.journal_keep": True})
        config["features"].append(USER)
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
            check_ids(daemon, data)
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
