# SPDX-License-Identifier: Apache-2.0
"""The fault library's board, as board.h lays it out: what calls a process has
made, when it was back at work, and whether its plan came true."""

import mmap
import os
import struct

OPS, THINGS, NAME = 16, 32, 16
_NAMES = 40
_HITS = _NAMES + (OPS + THINGS) * NAME
SIZE = _HITS + OPS * THINGS * 8


class Board:
    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(SIZE)
        self._file = os.open(path, os.O_RDWR)
        self._map = mmap.mmap(self._file, SIZE)

    def close(self):
        self._map.close()
        os.close(self._file)

    def clear(self):
        self._map[:] = bytes(SIZE)

    def _get(self, offset, kind="<q"):
        return struct.unpack_from(kind, self._map, offset)[0]

    def shift_clock(self, seconds):
        struct.pack_into("<q", self._map, 0, seconds * 1000)

    @property
    def loaded(self):
        return self._get(32, "<I") > 0

    @property
    def fired(self):
        return self._get(24, "<Q")

    @property
    def stored(self):
        """Whether an event was about to be committed."""
        return self._get(16) > 0

    @property
    def recovery(self):
        """Seconds from the process' start to its first commit of an event."""
        begun, stored = self._get(8), self._get(16)
        return (stored - begun) / 1e6 if begun and stored else None

    def hits(self):
        """{point: calls}"""
        def name(index):
            at = _NAMES + index * NAME
            return self._map[at:at + NAME].split(b"\0")[0].decode()
        ops, things = self._get(32, "<I"), self._get(36, "<I")
        counts = struct.unpack_from(f"<{OPS * THINGS}Q", self._map, _HITS)
        return {f"{name(op)}.{name(OPS + thing)}": counts[op * THINGS + thing]
                for op in range(ops) for thing in range(things)
                if counts[op * THINGS + thing]}

    def environment(self, root, plan=""):
        return {"FAULT_BOARD": self.path, "FAULT_ROOT": root,
                "FAULT_PLAN": plan}
