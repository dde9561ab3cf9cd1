# SPDX-License-Identifier: Apache-2.0
"""The items shown beside a clicked one: four that were being clicked by
others at that time, none that this user has clicked before.

1. Drawn uniformly, without repetition, from the distinct items clicked in the
   hour before the impression; from those of the last 1,000 clicks where that
   hour has fewer than 20. Clicks at or after the impression are unknown then.
2. Never the clicked item, never an item of an earlier click of the user.
3. A function of the clicks and the seed alone.
At the very beginning there are fewer than four, and fewer are shown."""

import collections
import random

HOUR_MS = 3_600_000
ENOUGH = 20
LAST = 1000
OTHERS = 4


class _Bag:
    """Distinct items of a sliding run of clicks, in a list to draw from."""

    def __init__(self):
        self.items = []
        self._place = {}
        self._count = collections.Counter()

    def add(self, item):
        self._count[item] += 1
        if self._count[item] == 1:
            self._place[item] = len(self.items)
            self.items.append(item)

    def remove(self, item):
        self._count[item] -= 1
        if self._count[item]:
            return
        del self._count[item]
        place = self._place.pop(item)
        last = self.items.pop()
        if last != item:
            self.items[place] = last
            self._place[last] = place


class Candidates:
    def __init__(self, seed=1):
        self._random = random.Random(seed).random
        self._clicks = collections.deque()  # not yet older than an impression
        self._hour, self._hour_clicks = _Bag(), collections.deque()
        self._last, self._last_clicks = _Bag(), collections.deque()
        self._clicked = collections.defaultdict(set)

    def add_click(self, user, item, click_ms):
        """In order of time; call others() for this click first."""
        self._clicks.append((click_ms, item))
        self._clicked[user].add(item)

    def _advance(self, now_ms):
        while self._clicks and self._clicks[0][0] < now_ms:
            click = self._clicks.popleft()
            self._hour.add(click[1])
            self._hour_clicks.append(click)
            self._last.add(click[1])
            self._last_clicks.append(click[1])
            if len(self._last_clicks) > LAST:
                self._last.remove(self._last_clicks.popleft())
        while self._hour_clicks and \
                self._hour_clicks[0][0] < now_ms - HOUR_MS:
            self._hour.remove(self._hour_clicks.popleft()[1])

    def others(self, user, item, now_ms):
        """Up to four items to show beside `item` at now_ms, which must not
        run backwards."""
        self._advance(now_ms)
        bag = self._hour if len(self._hour.items) >= ENOUGH else self._last
        never = self._clicked.get(user, ())
        shown = []
        # A draw may meet what the user knows; a scan ends the search where
        # nearly all of a small bag is known.
        for _ in range(64):
            if len(shown) == OTHERS or not bag.items:
                return shown
            drawn = bag.items[int(self._random() * len(bag.items))]
            if drawn != item and drawn not in never and drawn not in shown:
                shown.append(drawn)
        left = [x for x in bag.items
                if x != item and x not in never and x not in shown]
        while left and len(shown) < OTHERS:
            shown.append(left.pop(int(self._random() * len(left))))
        return shown

    def place(self, count):
        """Where the clicked item stands among `count`."""
        return int(self._random() * count)
