"""A TCP proxy that misbehaves when told: it stands between a node and its server."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from typing import Dict, List, Tuple

MODES = ("pass", "cut", "delay", "drip", "reset", "half_open")


class Proxy:
    """Forwards connections to `target` ("host:port"). `mode` says how, and may be set at any time:

    pass       as it comes
    cut        connections are closed, new ones too
    reset      likewise, by RST
    delay      each piece comes `delay` seconds late
    drip       `drip` bytes at a time
    half_open  connections stay, and nothing passes; new ones are taken and left alone
    """

    delay = 0.15
    drip = 64

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host.strip("[]"), int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self._mode = "pass"
        self._pairs: Dict[socket.socket, socket.socket] = {}
        # What is to be sent, and not before when: by the socket that it goes to.
        self._waiting: Dict[socket.socket, List[Tuple[float, bytes]]] = {}
        self._stopped = False
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        assert mode in MODES, mode
        self._mode = mode
        self._wake.send(b"x")

    def stop(self) -> None:
        self._stopped = True
        self._wake.send(b"x")
        self._thread.join(10)
        for one in [*self._pairs, self._listener, self._wake, self._woken]:
            one.close()

    def _run(self) -> None:
        while not self._stopped:
            now = time.monotonic()
            due = [w[0][0] for w in self._waiting.values() if w]
            timeout = max(0.0, min(due) - now) if due and self._mode != "half_open" else None
            # One that has much to be sent is not read from.
            readable = [s for s, to in self._pairs.items() if len(self._waiting.get(to, ())) < 100]
            if self._mode == "half_open":
                readable = []
            ready, _, _ = select.select([self._listener, self._woken, *readable], [], [], timeout)
            if self._woken in ready:
                self._woken.recv(4096)
            if self._mode in ("cut", "reset"):
                for one in list(self._pairs):
                    self._close(one)
            if self._listener in ready:
                self._accept()
            for one in ready:
                if one in self._pairs:
                    self._read(one)
            if self._mode != "half_open":
                self._send()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            if self._mode in ("cut", "reset"):
                raise OSError
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            if self._mode == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            return
        self._pairs[client], self._pairs[server] = server, client

    def _close(self, one: socket.socket) -> None:
        for end in (one, self._pairs.get(one)):
            if end is None:
                continue
            self._pairs.pop(end, None)
            self._waiting.pop(end, None)
            if self._mode == "reset":
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()

    def _read(self, one: socket.socket) -> None:
        try:
            data = one.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            return self._close(one)
        at = time.monotonic() + (self.delay if self._mode == "delay" else 0)
        size = self.drip if self._mode == "drip" else len(data)
        self._waiting.setdefault(self._pairs[one], []).extend(
            (at, data[i:i + size]) for i in range(0, len(data), size))

    def _send(self) -> None:
        now = time.monotonic()
        for to, waiting in list(self._waiting.items()):
            try:
                while waiting and waiting[0][0] <= now:
                    to.sendall(waiting[0][1])
                    waiting.pop(0)
            except OSError:
                self._close(to)
