# SPDX-License-Identifier: Apache-2.0
"""The data sets as columns of samples (columns.h), made once and cached:
adapter -> Avro files -> quality_fill (ingest's decoder, joins, journal)."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ADAPTERS = os.path.normpath(os.path.join(HERE, "..", "adapters"))
SHARED = os.path.normpath(os.path.join(HERE, "..", "..", "..", "shared",
                                       "data"))
PROFILE, ITEM, CONTEXT = range(3)  # enum learner_group
FILL_SETTINGS = ("ingest.journal_keep=true", "ingest.journal_max_mb=65536",
                 "ingest.map_mb=131072", "ingest.commit_events=200000",
                 "ingest.label_mode=window")


@dataclasses.dataclass(frozen=True)
class Source:
    """One data set; `item` is the feature that names what is clicked."""
    name: str
    title: str
    item: str
    path: str
    period_days: int  # of the tables by day: MovieLens has few ratings a day

    @property
    def adapter(self):
        return os.path.join(ADAPTERS, self.name + ".py")

    @property
    def config(self):
        return os.path.join(ADAPTERS, self.name + ".yaml")

    def there(self):
        return os.path.exists(os.path.join(SHARED, self.path))


SOURCES = {source.name: source for source in (
    Source("globo", "Globo.com news, 1 to 16 October 2017", "article",
           "globo/clicks.tsv.zst", 1),
    Source("movielens", "MovieLens 100k, 1997 to 1998", "item",
           "ml-100k/ml-100k.inter", 7),
)}


class Columns:
    """A made data set, mapped."""

    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "made.json"), encoding="utf-8") as file:
            self.made = json.load(file)
        fields = len(self.made["fields"])
        items = sum(f["group"] == ITEM for f in self.made["fields"])

        def column(name, kind, *shape):
            path = os.path.join(folder, name)
            flat = np.fromfile(path, kind) if os.path.getsize(path) < 1 << 20 \
                else np.memmap(path, kind, "r")
            return flat.reshape(-1, *shape) if shape else flat
        self.batches = column("batches", np.dtype([
            ("first", "<u8"), ("end", "<u8"), ("hash", "<u8", 2),
            ("groups_at", "<u8"), ("behaviors_at", "<u8"), ("groups", "<u4"),
            ("behaviors", "<u4")]))
        self.ids = column("ids", "<u8", fields)
        self.user = column("user", "<u8")
        self.event_ms = column("event_ms", "<i8")
        self.label = column("label", "u1")
        self.group_begin = column("group_begin", "<u4")
        self.history_begin = column("history_begin", "<u4")
        self.history = column("history", "<u8", items)

    @property
    def samples(self):
        return len(self.label)

    def lengths(self):
        """(S) behaviors in each sample's history."""
        # Entries of a batch end with its totals, where no group begins.
        ends = (self.batches["groups_at"] + self.batches["groups"]).astype(
            np.int64)
        begins = np.ones(len(self.group_begin), bool)
        begins[ends] = False
        at = np.flatnonzero(begins)

        def sizes(begin):
            return begin[at + 1].astype(np.int64) - begin[at]
        return np.repeat(sizes(self.history_begin), sizes(self.group_begin))

    def day_borders(self):
        """Position of the first sample of each UTC day but the first."""
        day = self.event_ms // 86_400_000
        return [int(np.argmax(day >= d)) for d in np.unique(day)[1:]]


def digest(*parts):
    """Of texts, and of the contents of files given as ("file", path)."""
    hashed = hashlib.blake2b(digest_size=10)
    for part in parts:
        if isinstance(part, tuple):
            with open(part[1], "rb") as file:
                part = hashlib.file_digest(file, "blake2b").digest()
        else:
            part = str(part).encode()
        hashed.update(len(part).to_bytes(8, "little") + part)
    return hashed.hexdigest()


def _key(source, share, tools):
    names = sorted(name for name in os.listdir(ADAPTERS)
                   if name.startswith(source.name) or
                   name in ("candidates.py", "container.py"))
    return digest(source.name, share, *FILL_SETTINGS,
                  *(("file", os.path.join(ADAPTERS, n)) for n in names),
                  ("file", os.path.join(SHARED, source.path)),
                  ("file", tools.archive("ingest")))


def _run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status "
                           f"{done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip().splitlines()[-1]


def _folder(source, share, cache, tools):
    return os.path.join(cache, "data",
                        f"{source.name}-{share}-{_key(source, share, tools)}")


def cached(source, share, cache, tools):
    return os.path.exists(os.path.join(_folder(source, share, cache, tools),
                                       "made.json"))


def prepare(source, share, cache, tools, say):
    """Columns of `share` percent of the users; made where not cached."""
    final = _folder(source, share, cache, tools)
    if cached(source, share, cache, tools):
        return Columns(final)
    aside = final + ".new"
    shutil.rmtree(aside, ignore_errors=True)
    os.makedirs(aside)
    say(f"{source.name}: events of {share} % of the users")
    avro, state = os.path.join(aside, "avro"), os.path.join(aside, "state")
    command = [sys.executable, "-B", source.adapter, avro]
    if share != 100:
        command += ["--users", str(share)]
    words = _run(command)
    say(f"{words}; through decoder, state machine and journal")
    sets = [x for setting in FILL_SETTINGS for x in ("--set", setting)]
    made = json.loads(_run([tools.fill, "--config", source.config, "--data",
                            avro, "--columns", aside, "--set",
                            f"state={state}", *sets]))
    made.update(tools.describe(source.config, ()), words=words)
    for folder in (avro, state):
        shutil.rmtree(folder)
    with open(os.path.join(aside, "made.json"), "w", encoding="utf-8") as file:
        json.dump(made, file)
    shutil.rmtree(final, ignore_errors=True)
    os.rename(aside, final)
    return Columns(final)
