# SPDX-License-Identifier: Apache-2.0
"""A TCP relay on the loopback that can be slowed down while it runs: what
stands between a client and one broker, so that the partitions this broker
leads lag behind the others."""

import socket
import threading
import time

CHUNK = 16 * 1024


class Throttle:
    """Use as a context manager. `port` is where clients connect; setting
    `target` (a port) comes before the first client, `bytes_per_second` may
    change at any time (0: no limit) and counts what the broker sends."""

    def __init__(self):
        self.target, self.bytes_per_second = None, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for pair, slow in (((client, server), False),
                               ((server, client), True)):
                threading.Thread(target=self._relay, args=(*pair, slow),
                                 daemon=True).start()

    def _relay(self, source, sink, slow):
        try:
            while data := source.recv(CHUNK):
                sink.sendall(data)
                if slow and self.bytes_per_second:
                    time.sleep(len(data) / self.bytes_per_second)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
