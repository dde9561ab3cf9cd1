#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The state machine in a few pages of Python: what becomes of each event.

Rules (numbers as in the comments below):
 1 timers that are due before an event's apply_ms fire before it;
 2 a repeated id is a duplicate while the first is open or not yet forgotten;
 3 late is what its own partition has left more than lateness_ms behind;
 4 an impression stays open until its close, and sees the behaviors applied
   before it;
 5 a click labels the open impression it names, waits for one that is not
   there, and becomes a behavior in every case but duplicate;
 6 a history is the latest history_max behaviors before the impression, of
   those it saw, out of those the user's record still keeps;
 7 samples go to the journal in the order of the timers (window) or of the
   events (fnw); a batch ends after each batch_size-th sample;
 8 a partition number that stops lets go of all that waits of it; where it
   goes on later, what was passed over is lost. Of another log, offsets count
   anew and what was consumed before is remembered as a number;
 9 of a user who is forgotten nothing is left: what waits of it leaves for the
   bucket of that name (in fnw an impression was counted), its ids are new
   again, its record begins anew. The journal's line about it takes a position,
   is a batch of its own, and ends the one before it.
Everything is kept in memory and nothing is ever forgotten physically; that is
the point: the daemon's blocks, indexes and commits must not show. Prints what
`interestd inspect ledger|sequences|samples` prints, line for line."""

import argparse
import bisect
import heapq
import os
import sys

import yaml

from events import ABSENT, CLICKS, IMPRESSIONS, TOPICS, in_order, merged

BUCKETS = ("positive", "negative", "joined_click", "behavior", "organic",
           "duplicate", "late", "orphan", "evicted", "unlabelled",
           "down_sampled", "forgotten", "lost", "dead_letter", "control",
           "waiting")
DEFAULTS = {"label_mode": "window", "window_ms": 1_800_000,
            "lateness_ms": 60_000, "skew_ms": 2000, "history_max": 100,
            "history_slack": 64, "history_ttl_ms": 0,
            "pending_max": 10_000_000, "negative_keep": 1.0}
MASK = (1 << 64) - 1


def mix(x):
    """Finalizer of SplitMix64."""
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 & MASK
    x = (x ^ x >> 27) * 0x94d049bb133111eb & MASK
    return x ^ x >> 31


def hexadecimal(ids):
    return "[" + ",".join("null" if x == ABSENT else f'"{x:016x}"'
                          for x in ids) + "]"


def listed(counts):
    return "{" + ",".join(f'"{k}":{v}' for k, v in counts.items() if v) + "}"


class Impression:
    __slots__ = ("event", "close", "seen", "open", "clicked", "position")

    def __init__(self, event, close, seen):
        self.event, self.close, self.seen = event, close, seen
        self.open, self.clicked, self.position = True, False, None


class Click:
    __slots__ = ("event", "waiting")

    def __init__(self, event):
        self.event, self.waiting = event, True


class User:
    """Behaviors: (time, ordinal, item ids), ascending."""
    __slots__ = ("partition", "next_ordinal", "behaviors")

    def __init__(self, partition):
        self.partition, self.next_ordinal, self.behaviors = partition, 0, []


class Partition:
    __slots__ = ("start", "next", "before", "own_ms", "buckets")

    def __init__(self, start):
        self.start = self.next = start
        self.before = 0
        self.own_ms = 0
        self.buckets = dict.fromkeys(BUCKETS, 0)


def timer_key(due, kind, event):
    return (due, kind, event.partition, event.user, event.event_ms,
            event.offset)


class Model:
    def __init__(self, config, journal):
        """journal: called with each line of the journal."""
        settings = dict(DEFAULTS, **config.get("ingest", {}))
        for name in DEFAULTS:
            setattr(self, name, settings[name])
        self.fnw = self.label_mode == "fnw"
        self.batch_size = config.get("learner", {}).get("batch_size", 128)
        items = [f["group"] for f in in_order(config["features"])
                 for _ in range(f.get("values", 1))]
        self.item = slice(items.index("item"),
                          items.index("item") + items.count("item"))
        self.journal = journal
        self.position = 0
        self.batch_begin = 0
        self.users = {}
        self.partitions = {}
        self.impressions = {}  # id -> newest Impression of that id
        self.clicks = {}       # id -> newest click event of that id
        self.waiting = {}      # impression id -> [Click], in arrival order
        self.timers = []
        self.open = []         # heap of open impressions, for eviction
        self.open_count = 0

    # ---- ledger --------------------------------------------------------

    def start(self, topic, partition, offset):
        """A partition's first offset ever read."""
        self.partitions.setdefault((topic, partition), Partition(offset))

    def count(self, event, bucket, was=None):
        buckets = self.partitions[event.topic, event.partition].buckets
        buckets[bucket] += 1
        if was:
            buckets[was] -= 1

    # ---- events --------------------------------------------------------

    def apply(self, event):
        self.fire(event.apply_ms)
        key = event.topic, event.partition
        self.start(*key, event.offset)
        partition = self.partitions[key]
        partition.buckets["control"] += event.offset - partition.next
        partition.next = event.offset + 1
        if event.ids is None:
            self.count(event, "dead_letter")
            return
        partition.own_ms = event.own_ms
        if event.topic == IMPRESSIONS:
            self.apply_impression(event)
        else:
            self.apply_click(event)

    def remembered(self, event):
        """Rule 2, of an event that came before."""
        own_ms = self.partitions[event.topic, event.partition].own_ms
        return own_ms <= event.event_ms + self.lateness_ms

    def late(self, event):
        return event.event_ms < event.own_ms - self.lateness_ms

    def apply_impression(self, event):
        before = self.impressions.get(event.event_id)
        if before and (before.open or self.remembered(before.event)):
            self.count(event, "duplicate")
            return
        if self.late(event):
            self.count(event, "late")
            return
        user = self.users.get(event.user)
        close = self.window_ms + max(event.event_ms + self.lateness_ms,
                                     event.apply_ms)
        impression = Impression(event, close, user.next_ordinal if user else 0)
        self.impressions[event.event_id] = impression
        key = timer_key(close, IMPRESSIONS, event)
        heapq.heappush(self.timers, (*key, impression))
        heapq.heappush(self.open, (*key, impression))
        self.open_count += 1
        if self.fnw:
            impression.position = self.sample(impression, 0, "fnw_negative")
            self.count(event, "negative")
        else:
            self.count(event, "waiting")
        for click in self.waiting.pop(event.event_id, ()):
            if click.waiting:
                click.waiting = False
                self.resolve(click.event, impression, "waiting")
        if self.open_count > self.pending_max:
            self.evict()

    def apply_click(self, event):
        before = self.clicks.get(event.event_id)
        if before and self.remembered(before):
            self.count(event, "duplicate")
            return
        if self.late(event):
            self.count(event, "late")
            self.behave(event, event.event_ms, event.ids)
            return
        self.clicks[event.event_id] = event
        if not event.impression:
            self.count(event, "behavior")
            self.behave(event, event.event_ms, event.ids)
            return
        impression = self.impressions.get(event.impression)
        if impression and impression.open:
            self.resolve(event, impression)
            return
        self.count(event, "waiting")
        due = max(event.event_ms + self.lateness_ms + self.skew_ms,
                  event.apply_ms)
        click = Click(event)
        self.waiting.setdefault(event.impression, []).append(click)
        heapq.heappush(self.timers, (*timer_key(due, CLICKS, event), click))

    def resolve(self, click, impression, was=None):
        """Rule 5: a click meets the open impression that it names."""
        shown = impression.event
        if click.user != shown.user or not (
                shown.event_ms - self.skew_ms <= click.event_ms
                <= shown.event_ms + self.window_ms):
            self.count(click, "orphan", was)
            self.behave(click, click.event_ms, click.ids)
            return
        if self.fnw and not impression.clicked:
            self.sample(impression, 1, "fnw_positive")
            self.count(click, "positive", was)
        else:
            self.count(click, "joined_click", was)
        impression.clicked = True
        self.behave(click, max(click.event_ms, shown.event_ms),
                    shown.ids[self.item])

    def behave(self, click, time, ids):
        user = self.users.setdefault(click.user, User(click.partition))
        bisect.insort(user.behaviors, (time, user.next_ordinal, ids))
        user.next_ordinal += 1
        if len(user.behaviors) > self.history_max + self.history_slack:
            del user.behaviors[0]

    # ---- timers --------------------------------------------------------

    def fire(self, apply_ms):
        """Rule 1."""
        while self.timers and self.timers[0][0] < apply_ms:
            timed = heapq.heappop(self.timers)[-1]
            if isinstance(timed, Impression):
                if timed.open:
                    self.close(timed)
            elif timed.waiting:
                timed.waiting = False
                self.count(timed.event, "organic", "waiting")
                self.behave(timed.event, timed.event.event_ms,
                            timed.event.ids)

    def leave(self, impression):
        impression.open = False
        self.open_count -= 1

    def close(self, impression):
        self.leave(impression)
        if self.fnw:
            self.final(impression)
            return
        event = impression.event
        if impression.clicked:
            self.count(event, "positive", "waiting")
        elif (mix(event.event_id) >> 11) * 2.0 ** -53 < self.negative_keep:
            self.count(event, "negative", "waiting")
        else:
            self.count(event, "down_sampled", "waiting")
            return
        self.sample(impression, int(impression.clicked), "window")

    def evict(self):
        while not self.open[0][-1].open:
            heapq.heappop(self.open)
        impression = heapq.heappop(self.open)[-1]
        self.leave(impression)
        if self.fnw:
            self.final(impression)
        else:
            self.count(impression.event, "evicted", "waiting")

    # ---- forgetting ----------------------------------------------------

    def forget(self, user, rows=()):
        """Rule 9. User 0 is nobody."""
        mine = [x for x in self.impressions.values() if x.event.user == user]
        for impression in mine:
            if impression.open:
                self.leave(impression)
                if not self.fnw:
                    self.count(impression.event, "forgotten", "waiting")
            del self.impressions[impression.event.event_id]
        for event in [x for x in self.clicks.values() if x.user == user]:
            del self.clicks[event.event_id]
        for clicks in self.waiting.values():
            for click in clicks:
                if click.waiting and click.event.user == user:
                    click.waiting = False
                    self.count(click.event, "forgotten", "waiting")
        self.users.pop(user, None)
        self.end_batch()
        keys = ",".join(f'[{table},"{key:016x}"]' for table, key in rows)
        self.journal(f'{{"forget":"{user:016x}","rows":[{keys}]}}')
        self.position += 1
        self.end_batch()

    # ---- losses --------------------------------------------------------

    def stop(self, number):
        """Rule 8, window mode."""
        left = [timer[-1] for timer in self.timers
                if timer[-1].event.partition == number]
        for impression in left:
            if isinstance(impression, Impression) and impression.open:
                self.leave(impression)
                self.count(impression.event, "unlabelled", "waiting")
        for click in sorted((x for x in left if isinstance(x, Click)
                             and x.waiting), key=lambda x: x.event):
            click.waiting = False
            self.count(click.event, "organic", "waiting")
            self.behave(click.event, click.event.event_ms, click.event.ids)

    def skip(self, key, to, start=None):
        """Rule 8: (topic, partition) goes on at `to`; start: of another
        log, its first offset."""
        partition = self.partitions[key]
        if start is not None:
            partition.before += partition.next - partition.start
            partition.start = partition.next = start
        partition.buckets["lost"] += to - partition.next
        partition.next = to

    # ---- journal -------------------------------------------------------

    def history(self, impression):
        """Rule 6, oldest first."""
        user = self.users.get(impression.event.user)
        if not user:
            return []
        end_ms = impression.event.event_ms
        begin_ms = end_ms - self.history_ttl_ms if self.history_ttl_ms else 0
        found = [ids for time, ordinal, ids in user.behaviors
                 if time < end_ms and time >= begin_ms
                 and ordinal < impression.seen]
        return found[-self.history_max:]

    def sample(self, impression, label, kind):
        """Rule 7. Returns the sample's position."""
        position, event = self.position, impression.event
        history = ",".join(map(hexadecimal, self.history(impression)))
        self.journal(
            f'{{"position":{position},"user":"{event.user:016x}",'
            f'"event_ms":{event.event_ms},"label":{label},"kind":"{kind}",'
            f'"ids":{hexadecimal(event.ids)},"history":[{history}]}}')
        self.position += 1
        if self.position - self.batch_begin == self.batch_size:
            self.end_batch()
        return position

    def end_batch(self):
        if self.position > self.batch_begin:
            self.journal(f'{{"batch_end":{self.position}}}')
        self.batch_begin = self.position

    def final(self, impression):
        self.journal(f'{{"final":{impression.position},'
                     f'"label":{int(impression.clicked)}}}')

    # ---- what inspect prints -------------------------------------------

    def ledger(self):
        totals = dict.fromkeys(BUCKETS, 0)
        for (topic, number), partition in sorted(self.partitions.items()):
            counts = partition.buckets
            assert sum(counts.values()) == (partition.before + partition.next
                                            - partition.start)
            before = (f',"before":{partition.before}' if partition.before
                      else "")
            for name, count in counts.items():
                totals[name] += count
            yield (f'{{"topic":"{TOPICS[topic]}","partition":{number},'
                   f'"start":{partition.start},"next":{partition.next}'
                   f'{before},"buckets":{listed(counts)}}}')
        yield f'{{"totals":{listed(totals)}}}'

    def sequences(self):
        for name, user in sorted(self.users.items()):
            behaviors = ",".join(f"[{time},{ordinal},{hexadecimal(ids)}]"
                                 for time, ordinal, ids in user.behaviors)
            yield (f'{{"user":"{name:016x}","partition":{user.partition},'
                   f'"next_ordinal":{user.next_ordinal},'
                   f'"behaviors":[{behaviors}]}}')


def run(config, folder, logs, output, forgets=None):
    """Writes ledger, sequences and samples into the folder `output`. forgets:
    {(topic, partition, offset): [user]}, forgotten behind that record."""
    forgets = forgets or {}
    os.makedirs(output, exist_ok=True)
    with open(os.path.join(output, "samples"), "w") as journal:
        model = Model(config, lambda line: journal.write(line + "\n"))
        for (topic, partition), log in logs.items():
            model.start(topic, partition, log[0][0] if log else 0)
        for event in merged(config, folder, logs):
            model.apply(event)
            for user in forgets.get((event.topic, event.partition,
                                     event.offset), ()):
                model.forget(user)
    for name, lines in (("ledger", model.ledger()),
                        ("sequences", model.sequences())):
        with open(os.path.join(output, name), "w") as file:
            file.writelines(line + "\n" for line in lines)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--config", required=True,
                        help="the daemon's configuration file")
    parser.add_argument("--brokers", help="else those of the configuration")
    parser.add_argument("output", help="folder for ledger, sequences, samples")
    arguments = parser.parse_args()
    sys.path.insert(0, os.path.join(
        os.path.dirname(os.path.abspath(__file__)), "..", "support"))
    import topics
    with open(arguments.config, encoding="utf-8") as file:
        config = yaml.safe_load(file)
    logs = topics.read_logs(arguments.brokers or config["kafka"]["brokers"],
                            [config[topic]["topic"] for topic in TOPICS])
    model = run(config, os.path.dirname(os.path.abspath(arguments.config)),
                logs, arguments.output)
    print(f"state_model: {model.position} samples, {len(model.users)} users")
    return 0


if __name__ == "__main__":
    sys.exit(main())
