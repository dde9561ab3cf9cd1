#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around the daemon, on the mock cluster: a clear error each,
nothing lost, nothing crashed.

1. Truncated and hostile Avro between good records: each a dead letter with
   its reason; the good ones fare as the model says.
2. Records of 20 MB, with 10^5 headers, with a key of 2 MB: dead letters too,
   in bounded memory.
3. A schema id that is not known, and bytes that are not framed.
4. A snapshot with one flipped bit: `rank` refuses; healed, it scores again.
5. Broken configurations: refused with the file, the line or key and words,
   by `check-config` and by `run`.
6. Standard descriptors closed at start: the state is as it should be.
7. A second daemon on the same state: refused, the first one undisturbed."""

import collections
import glob
import json
import os
import re
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "support"))
import paths
from broker import Broker
from container import encode_long
from daemon import Daemon, check, compare, dump, merge
from paths import Steps, say
import request
import state_model
import stream
import topics

TOPICS = "impressions:4,clicks:4,model-announcements:1"
NOW = stream.T0 + 1000

GOOD = {"impression_id": "bad-1", "user_id": "u1", "event_ms": NOW,
        "gender": "f", "age_level": 3, "goods": "g1", "shop": "s1",
        "cate": "c1", "pid": "p1"}


def hostile():
    """(value, the reasons that fit)"""
    good = stream.encode(0, GOOD)
    for end in range(1, len(good)):
        yield good[:end], {"truncated"}
    yield None, {"tombstone"}
    yield b"", {"truncated", "tombstone", "wire"}
    yield good + b"\0", {"trailing"}
    for length in (-1, 2 ** 31, 2 ** 45, 2 ** 62):
        yield encode_long(length) + good[1:], {"bad_length", "truncated"}
    yield b"\xff" * 10 + b"\1" + good[1:], {"varint", "bad_length"}
    # The union of gender: an index beyond its two branches.
    at = good.index(b"\x02\x02f")
    yield good[:at] + b"\x04" + good[at + 1:], {"index"}
    yield good[:at] + b"\x01" + good[at + 1:], {"index"}
    yield stream.encode(0, dict(GOOD, event_ms=0)), {"time"}
    yield stream.encode(0, dict(GOOD, event_ms=-5)), {"time"}
    yield stream.encode(0, dict(GOOD, event_ms=2 ** 62)), {"time"}
    yield stream.encode(0, dict(GOOD, user_id="")), {"missing"}
    yield json.dumps(GOOD).encode(), {"truncated", "bad_length", "varint",
                                      "index", "trailing"}
    yield b"x" * 1_100_000, {"oversize"}


def dead_letters(daemon):
    """{(topic, partition, offset): reason}"""
    found = {}
    for line in daemon.inspect("dead-letters"):
        letter = json.loads(line)
        key = letter["topic"], letter["partition"], letter["offset"]
        check(key not in found, f"listed twice: {line}")
        found[key] = letter["reason"]
    return found


class Bad:
    def __init__(self, interestd, folder):
        self.interestd, self.folder = interestd, folder

    def avro(self):
        with Broker(self.interestd, TOPICS) as broker:
            config = merge(stream.config(), {
                "kafka.brokers": broker.brokers,
                "ingest.event_max": 1_000_000})
            bad = list(hostile())
            with topics.Client(broker.brokers,
                               **{"message.max.bytes": 2_000_000}) as client:
                for index, (value, _) in enumerate(bad):
                    client.send("impressions", value, key=b"u",
                                partition=index % 4, timestamp_ms=NOW)
                    client.send("clicks", b"\x02\x80", partition=index % 4,
                                timestamp_ms=NOW)
                client.flush()
                events = 2 * len(bad) + stream.Stream(5, 600).send(client)
                # And after good ones.
                for value, _ in bad:
                    client.send("impressions", value, key=b"u", partition=0,
                                timestamp_ms=NOW)
                client.flush()
                events += len(bad)
            self.model(broker, config)
            self.daemon = Daemon(self.interestd,
                                 os.path.join(self.folder, "avro"), config)
            self.daemon.start()
            status = self.daemon.wait_trained(events, 120)
            check(status["ingest"]["unaccounted"] == 0, "unaccounted offsets")
            self.daemon.stop()
            out = os.path.join(self.folder, "avro-out")
            dump(self.daemon, out)
            compare("hostile records", self.model_out, out)
            self.reasons(bad)

    def model(self, broker, config):
        logs = topics.read_logs(broker.brokers, stream.TOPICS)
        self.model_out = os.path.join(self.folder, "avro-model")
        state_model.run(config, "/", logs, self.model_out)

    def reasons(self, bad):
        """Partition p's first records are the hostile ones, in order."""
        found = dead_letters(self.daemon)
        check(len(found) == 3 * len(bad),
              f"{len(found)} dead letters, not {3 * len(bad)}")
        for index, (value, fit) in enumerate(bad):
            reason = found.get(("impressions", index % 4, index // 4))
            check(reason in fit, f"record {index} ({(value or b'')[:20]!r}): "
                                 f"{reason}, not one of {sorted(fit)}")
        counts = collections.Counter(found.values())
        say(f"  dead letters: {dict(sorted(counts.items()))}")

    def huge(self):
        """Each in a partition of its own: the mock keeps 5 MiB of one, or a
        single record."""
        large = [{"value": b"\xff" * 20_000_000} for _ in range(4)]
        large += [{"value": stream.encode(0, GOOD),
                   "headers": [(f"h{n}", b"x") for n in range(100_000)]},
                  {"value": stream.encode(0, GOOD), "key": b"k" * 2_000_000}]
        with Broker(self.interestd, TOPICS.replace(":4", ":10")) as broker:
            daemon = Daemon(self.interestd, os.path.join(self.folder, "huge"),
                            merge(stream.config(),
                                  {"kafka.brokers": broker.brokers}))
            try:
                daemon.start()
                with topics.Client(broker.brokers, **{
                        "message.max.bytes": 30_000_000}) as client:
                    daemon.wait_applied(0, 60)
                    before = daemon.peak_memory()
                    for events, record in enumerate(large, 1):
                        client.send("impressions", timestamp_ms=stream.T0,
                                    partition=3 + events, **record)
                        client.flush()
                        daemon.wait_applied(events, 60)
                    after = daemon.peak_memory()
                    events += stream.Stream(12, 50).send(client)
                    daemon.wait_applied(events, 60)
                status = daemon.status()["ingest"]
                check({k: v for k, v in
                       status["dead_letter_reasons"].items() if v} ==
                      {"oversize": len(large)} and status["unaccounted"] == 0,
                      f"status {status}")
                say(f"  {before:.0f} MiB before, {after:.0f} MiB after")
                # Of librdkafka: one response being read, one being parsed.
                check(after < before + 100, f"{after - before:.0f} MiB more")
                daemon.stop()
            finally:
                daemon.end()
            kept = [json.loads(line) for line in daemon.inspect("dead-letters")]
            sizes = sorted(len(x["bytes"]) // 2 for x in kept)
            good = len(stream.encode(0, GOOD))
            check(sizes == [good] * 2 + [1 << 20] * 4, f"kept {sizes} bytes")

    def framing(self):
        schemas = os.path.join(self.folder, "schemas")
        os.makedirs(schemas)
        for topic, name in enumerate(("impression.avsc", "click.avsc")):
            shutil.copy(os.path.join(stream.SCHEMAS, name),
                        os.path.join(schemas, f"{topic + 1}.avsc"))
        head = [b"\0" + struct.pack(">I", topic + 1) for topic in (0, 1)]
        good = stream.encode(0, GOOD)
        bad = [(b"\0" + struct.pack(">I", 99) + good, "schema_unknown"),
               (b"\1" + struct.pack(">I", 1) + good, "wire"),
               (b"\0\0\0", "wire"), (head[0] + good[:9], "truncated")]
        with Broker(self.interestd, TOPICS) as broker:
            config = merge(stream.config(), {
                "kafka.brokers": broker.brokers,
                "impressions.framing": "confluent",
                "impressions.schema": schemas,
                "clicks.framing": "confluent", "clicks.schema": schemas})
            with topics.Client(broker.brokers) as client:
                for value, _ in bad:
                    client.send("impressions", value, partition=1,
                                timestamp_ms=NOW)
                client.flush()
                events = len(bad) + stream.Stream(6, 300).send(
                    client, encode_value=lambda topic, record:
                        head[topic] + stream.encode(topic, record))
            logs = topics.read_logs(broker.brokers, stream.TOPICS)
            model = os.path.join(self.folder, "framing-model")
            state_model.run(config, "/", logs, model)
            daemon = Daemon(self.interestd,
                            os.path.join(self.folder, "framing"), config)
            try:
                daemon.start()
                daemon.wait_trained(events, 120)
                daemon.stop()
            finally:
                daemon.end()
            out = os.path.join(self.folder, "framing-out")
            dump(daemon, out)
            compare("framed records", model, out)
            found = dead_letters(daemon)
            for offset, (_, reason) in enumerate(bad):
                check(found.get(("impressions", 1, offset)) == reason,
                      f"offset {offset}: {found}")

    def snapshot(self):
        folder = self.daemon.config["model_folder"]
        asked = os.path.join(self.folder, "request.json")
        request.write(asked, self.daemon.config, [
            {"goods": f"g{n}", "shop": f"s{n}", "cate": f"c{n}"}
            for n in range(6)])
        rank = ("rank", "--model", folder, "--request", asked)
        first = self.daemon.call(*rank, config=False)
        check(first.returncode == 0, f"rank: {first.stderr}")
        for line in request.scores(first.stdout):
            say(f"  {line}")
        files = sorted(os.path.join(at, name)
                       for at, _, names in os.walk(folder) for name in names)
        served = [path for path in files if path.endswith(".safetensors")]
        check(served, f"no tensors in {folder}: {files}")
        newest = os.path.dirname(max(served, key=os.path.dirname))
        for path in (x for x in files if os.path.dirname(x) == newest):
            self.flipped(path, rank)
        again = self.daemon.call(*rank, config=False)
        check(again.returncode == 0 and request.scores(again.stdout) ==
              request.scores(first.stdout) != [],
              f"healed, rank says {again.stdout} {again.stderr}")

    def flipped(self, path, rank):
        size = os.path.getsize(path)
        with open(path, "r+b") as file:
            file.seek(size // 2)
            byte = file.read(1)[0]
            file.seek(size // 2)
            file.write(bytes([byte ^ 1]))
        done = self.daemon.call(*rank, config=False)
        with open(path, "r+b") as file:
            file.seek(size // 2)
            file.write(bytes([byte]))
        check(done.returncode > 0 and done.stderr.strip(),
              f"rank with a bit of {os.path.basename(path)} flipped: exit "
              f"status {done.returncode}: {done.stdout} {done.stderr}")
        say(f"  {os.path.basename(path)}: {done.stderr.strip()[:200]}")

    def configuration(self):
        with open(self.daemon.path) as file:
            good = file.read()
        path = os.path.join(self.folder, "broken.yaml")
        cases = (
            ("batch_size: 64", "batch_sise: 64", "batch_sise"),
            ("batch_size: 64", "batch_size: many", "batch_size"),
            ("batch_size: 64", "batch_size: -1", "batch_size"),
            ("label_mode: window", "label_mode: later", "label_mode"),
            ("goods", "goods: [", "broken.yaml"),
        )
        # What only shows when the schemas are read.
        schema_cases = (
            ("path: goods", "path: goods.color", "goods.color"),
            ("impression.avsc", "nothing.avsc", "nothing.avsc"),
        )
        for old, new, word in cases + schema_cases:
            check(old in good, f"{old} is not in the configuration")
            with open(path, "w") as file:
                file.write(good.replace(old, new, 1))
            for command in ("check-config", "run"):
                done = self.daemon.call(command, "--config", path,
                                        config=False)
                check(done.returncode in (65, 66, 78) and word in done.stderr,
                      f"{command} with {new!r}: exit status "
                      f"{done.returncode}: {done.stderr}")
            say(f"  {done.stderr.strip().splitlines()[-1][:200]}")
        missing = self.daemon.call("run", "--config", path + ".not",
                                   config=False)
        check(missing.returncode != 0 and "broken.yaml.not" in missing.stderr,
              f"no file: {missing.returncode}: {missing.stderr}")

    def closed(self):
        """Started with descriptors 0 to 2 closed, no file that the daemon
        opens may take their place: log lines would go into the database."""
        with Broker(self.interestd, TOPICS) as broker:
            config = merge(stream.config(), {"kafka.brokers": broker.brokers})
            with topics.Client(broker.brokers) as client:
                events = stream.Stream(9, 300).send(client)
            logs = topics.read_logs(broker.brokers, stream.TOPICS)
            model = os.path.join(self.folder, "closed-model")
            state_model.run(config, "/", logs, model)
            daemon = Daemon(self.interestd,
                            os.path.join(self.folder, "closed"), config)
            with open(daemon.log_path, "w"):
                pass
            try:
                daemon.process = subprocess.Popen(
                    ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh",
                     *daemon.command("run")])
                daemon.wait_trained(events, 120)
                taken = [os.readlink(f"/proc/{daemon.process.pid}/fd/{n}")
                         for n in range(3)]
                check(taken == ["/dev/null"] * 3, f"descriptors: {taken}")
                daemon.stop()
            finally:
                daemon.end()
            out = os.path.join(self.folder, "closed-out")
            dump(daemon, out)
            compare("closed descriptors", model, out)

    def second(self):
        with Broker(self.interestd, TOPICS) as broker:
            config = merge(stream.config(), {"kafka.brokers": broker.brokers})
            with topics.Client(broker.brokers) as client:
                events = stream.Stream(8, 300).send(client)
            daemon = Daemon(self.interestd,
                            os.path.join(self.folder, "second"), config)
            try:
                daemon.start()
                daemon.wait(lambda status: True, "an answer", 60)
                other = daemon.call("run")
                check(other.returncode > 0 and
                      str(daemon.process.pid) in other.stderr,
                      f"the second daemon: exit status {other.returncode}: "
                      f"{other.stderr}")
                say(f"  {other.stderr.strip().splitlines()[-1][:200]}")
                daemon.wait_trained(events, 120)
                check(not self.damaged(daemon), "fsck beside a daemon")
                daemon.stop()
            finally:
                daemon.end()
        self.stopped = daemon

    @staticmethod
    def damaged(daemon):
        """Names of the parts in which `interestd fsck` finds damage."""
        done = daemon.call("fsck", "--json")
        parts = [part["part"] for part in json.loads(done.stdout)
                 if not part["good"]]
        check(done.returncode == (76 if parts else 0),
              f"fsck: exit status {done.returncode} with {parts} damaged: "
              f"{done.stderr}")
        return parts

    def fsck(self):
        """A bit in a value of each part; each is found, and nothing else."""
        daemon = self.stopped
        check(self.damaged(daemon) == [], "a good state")
        store = os.path.join(daemon.config["state"], "store", "data.mdb")
        sample = json.loads(daemon.inspect("samples")[0])
        user = json.loads(daemon.inspect("sequences")[0])
        waiting = json.loads(daemon.inspect("waiting")[0])
        stamp = struct.pack("<q", user["behaviors"][0][0])
        found = {
            "samples": struct.pack("<Q", int(sample["user"], 16)),
            "waiting": struct.pack("<Q", int(waiting["id"], 16)),
            "sequences": stamp + struct.pack("<I", user["behaviors"][0][1]),
        }
        for part, bytes_ in found.items():
            with open(store, "rb") as file:
                data = file.read()
            # Old pages hold the same values, other parts the same ids.
            said = []
            for place in re.finditer(re.escape(bytes_), data):
                with Flip(store, place.start() + 7):
                    said.append(self.damaged(daemon))
                check(len(said[-1]) < 2, f"{part}: fsck says {said[-1]}")
                if said[-1] == [part]:
                    break
            check([part] in said, f"{part}: fsck says {said}")
        newest = max(glob.glob(os.path.join(daemon.config["state"],
                                            "checkpoints", "ck-*", "cut.bin")))
        with Flip(newest, os.path.getsize(newest) // 2):
            check(self.damaged(daemon) == ["checkpoints"], "a checkpoint")
        with open(os.path.join(daemon.config["model_folder"],
                               "CURRENT")) as file:
            version = file.read().split()[0]
        tensors = glob.glob(os.path.join(daemon.config["model_folder"],
                                         version, "*.safetensors"))
        with Flip(tensors[0], os.path.getsize(tensors[0]) - 1):
            check(self.damaged(daemon) == ["model"], "the model")
        folder = os.path.join(daemon.config["state"], "checkpoints")
        os.rename(folder, folder + ".aside")
        check(self.damaged(daemon) == [], "no checkpoint yet")
        with open(folder, "wb"):
            check(self.damaged(daemon) == ["checkpoints"], "no folder")
        os.remove(folder)
        os.rename(folder + ".aside", folder)
        check(self.damaged(daemon) == [], "all put back")


class Flip:
    """One bit of a file, as long as the context lasts."""

    def __init__(self, path, at):
        self.path, self.at = path, at

    def __enter__(self):
        with open(self.path, "r+b") as file:
            file.seek(self.at)
            byte = file.read(1)[0]
            file.seek(self.at)
            file.write(bytes([byte ^ 1]))

    def __exit__(self, *_):
        self.__enter__()


def test(arguments, folder):
    steps, bad = Steps(), Bad(arguments.interestd, folder)
    try:
        steps.run("truncated and hostile Avro", bad.avro)
    finally:
        if hasattr(bad, "daemon"):
            bad.daemon.end()
    steps.run("20 MB, 10^5 headers, a large key", bad.huge)
    steps.run("unknown schema, wrong framing", bad.framing)
    steps.run("a flipped bit in a snapshot", bad.snapshot)
    steps.run("broken configurations", bad.configuration)
    steps.run("closed standard descriptors", bad.closed)
    steps.run("a second daemon on the same state", bad.second)
    steps.run("fsck: a flipped bit in each part", bad.fsck)


if __name__ == "__main__":
    paths.main(test)
