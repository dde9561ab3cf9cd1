# SPDX-License-Identifier: Apache-2.0
"""The page on which an item was clicked: that item and up to four others that
were being clicked by others at that time, none that this user has clicked
before. Both data sets draw their pages here.

1. Each of the others is the item of a click drawn uniformly from those of the
   hour before the impression, so an item is drawn in proportion to its clicks
   and popularity alone tells little; from the last 1,000 clicks where that
   hour has fewer than 20 distinct items. Clicks at or after the impression are
   unknown then.
2. Never the clicked item, never an item of an earlier click of the user, none
   twice.
3. A function of the clicks, the seed and the number of the click alone: a page
   that is not asked for changes no other.
At the very beginning there are fewer than four, and fewer are shown.

A page has the clicked item because it was clicked, and the others because they
were not new an hour ago: an item's first clicks are always positives."""

import collections
import hashlib

HOUR_MS = 3_600_000
ENOUGH = 20
LAST = 1000
OTHERS = 4
TRIES = 64
MASK = (1 << 64) - 1


class Draws:
    """SplitMix64, started by seed and number."""

    def __init__(self, seed, number):
        self._state = (seed * 0xd1342543de82ef95 +
                       number * 0x9fb21c651e98df25) & MASK

    def below(self, bound):
        self._state = self._state + 0x9e3779b97f4a7c15 & MASK
        x = self._state
        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 & MASK
        x = (x ^ x >> 27) * 0x94d049bb133111eb & MASK
        return ((x ^ x >> 31) * bound) >> 64


class _Clicks:
    """A sliding run of clicks, in a list to draw from."""

    def __init__(self):
        self.list = []  # (click_ms, item); those before `begin` are gone
        self.begin = 0
        self.count = collections.Counter()

    def __len__(self):
        return len(self.list) - self.begin

    def first(self):
        return self.list[self.begin]

    def add(self, click):
        self.list.append(click)
        self.count[click[1]] += 1

    def remove_first(self):
        item = self.list[self.begin][1]
        self.count[item] -= 1
        if not self.count[item]:
            del self.count[item]
        self.begin += 1
        if self.begin > 4096 and 2 * self.begin > len(self.list):
            del self.list[:self.begin]
            self.begin = 0


class Candidates:
    def __init__(self, seed=1):
        self._seed = seed
        self._number = 0  # clicks so far
        self._coming = collections.deque()  # not older than an impression yet
        self._hour, self._last = _Clicks(), _Clicks()
        self._clicked = collections.defaultdict(set)

    def add_click(self, user, item, click_ms):
        """In order of time; call page() for this click first, if at all."""
        self._number += 1
        self._coming.append((click_ms, item))
        self._clicked[user].add(item)

    def _advance(self, now_ms):
        while self._coming and self._coming[0][0] < now_ms:
            click = self._coming.popleft()
            self._hour.add(click)
            self._last.add(click)
            if len(self._last) > LAST:
                self._last.remove_first()
        while len(self._hour) and self._hour.first()[0] < now_ms - HOUR_MS:
            self._hour.remove_first()

    def page(self, user, item, now_ms):
        """`item` among the others, at now_ms, which must not run
        backwards."""
        self._advance(now_ms)
        enough = len(self._hour.count) >= ENOUGH
        clicks = self._hour if enough else self._last
        draws = Draws(self._seed, self._number)
        never = self._clicked.get(user, ())
        shown, size, begin = [], len(clicks), clicks.begin
        tries = TRIES if size else 0
        # A draw may meet what the user knows; what is left is listed where
        # nearly all of it is known.
        while tries and len(shown) < OTHERS:
            tries -= 1
            drawn = clicks.list[begin + draws.below(size)][1]
            if drawn != item and drawn not in never and drawn not in shown:
                shown.append(drawn)
        while len(shown) < OTHERS:
            left = [x for _, x in clicks.list[begin:]
                    if x != item and x not in never and x not in shown]
            if not left:
                break
            shown.append(left[draws.below(len(left))])
        shown.insert(draws.below(len(shown) + 1), item)
        return shown


def share_of_users(percent):
    """Whether a user is among this share, by a hash of the id; None: all."""
    if percent >= 100:
        return None
    chosen = {}

    def keep(user):
        if user not in chosen:
            raw = hashlib.md5(user.encode()).digest()
            chosen[user] = int.from_bytes(raw[:4], "little") \
                < percent / 100 * 2 ** 32
        return chosen[user]
    return keep
