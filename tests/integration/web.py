"""An HTTPS server for tests: real sockets, a certificate of its own, and answers that a test scripts.

Each path has a list of answers; each request takes the next, the last one stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Callable, Dict, List, Tuple

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Web"

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.requests.append((self.path, dict(self.headers)))
            self.server.running += 1
            self.server.most_running = max(self.server.most_running, self.server.running)
            answers = self.server.routes.get(path, [status(404)])
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            answer(self)
        except OSError:
            self.close_connection = True  # the client has gone
        finally:
            with self.server.lock:
                self.server.running -= 1

    def begin(self, code: int, length=None, **headers: str) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Web(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path, tls: bool = True) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.routes: Dict[str, List[Answer]] = {}
        self.requests: List[Tuple[str, Dict[str, str]]] = []
        self.lock = threading.Lock()
        self.running = self.most_running = 0
        self.over = threading.Event()  # lets answers that hang go
        self.scheme = "https" if tls else "http"
        self.ca_file = folder / "web.pem"
        if tls:
            key = folder / "web.key"
            subprocess.run(
                ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", "/CN=test", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out",
                 str(self.ca_file)], check=True, capture_output=True)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.ca_file, key)
            # The handshake belongs to the connection's own thread.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_address[1]}{path}"

    def route(self, path: str, *answers: Answer) -> str:
        with self.lock:
            self.routes[path] = list(answers)
        return self.url(path)

    def asked(self, path: str) -> List[Dict[str, str]]:
        """The headers of each request for the path."""
        with self.lock:
            return [headers for asked, headers in self.requests if asked.partition("?")[0] == path]

    def handle_error(self, *_: object) -> None:
        pass  # of clients that do not trust the certificate, or have gone

    def close(self) -> None:
        self.over.set()
        self.shutdown()
        with contextlib.suppress(OSError):
            self.server_close()


def etag_of(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


def content(data: bytes, etag: str = "", length: bool = True) -> Answer:
    """As a good server answers; without `length`, in chunks. etag None: there is none."""
    def answer(handler: Handler) -> None:
        tag = etag_of(data) if etag == "" else etag
        headers = {"ETag": tag} if tag else {}
        if tag and handler.headers.get("If-None-Match") == tag:
            return handler.begin(304, **headers)
        part, code = data, 200
        wanted = handler.headers.get("Range", "")
        if wanted and tag and handler.headers.get("If-Range") == tag:
            first = int(wanted[len("bytes="):].rstrip("-"))
            part, code = data[first:], 206
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        if length:
            handler.begin(code, len(part), **headers)
            handler.wfile.write(part)
        else:
            handler.begin(code, **headers, Transfer_Encoding="chunked")
            for at in range(0, len(part), 65536):
                piece = part[at:at + 65536]
                handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            handler.wfile.write(b"0\r\n\r\n")
    return answer


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.begin(code, 0, **headers)


def redirect(to: str, code: int = 302) -> Answer:
    return status(code, Location=to)


def cut(data: bytes, at: int, etag: str = "") -> Answer:
    """Promises all of it and breaks the connection after `at` bytes."""
    def answer(handler: Handler) -> None:
        handler.begin(200, len(data), **({"ETag": etag or etag_of(data)} if etag is not None else {}))
        handler.wfile.write(data[:at])
        handler.wfile.flush()
        handler.close_connection = True
    return answer


def drip(data: bytes, wait: float) -> Answer:
    """A byte at a time, `wait` seconds apart."""
    def answer(handler: Handler) -> None:
        handler.begin(200, len(data), ETag=etag_of(data))
        for at in range(len(data)):
            handler.wfile.write(data[at:at + 1])
            handler.wfile.flush()
            if handler.server.over.wait(wait):
                return
    return answer


def hang(data: bytes, at: int, reached: threading.Event) -> Answer:
    """Sends `at` bytes and then nothing more."""
    def answer(handler: Handler) -> None:
        handler.begin(200, len(data), ETag=etag_of(data))
        handler.wfile.write(data[:at])
        handler.wfile.flush()
        reached.set()
        handler.server.over.wait()
        handler.close_connection = True
    return answer


def gate(data: bytes, barrier: threading.Barrier) -> Answer:
    """Answers once as many requests as the barrier has parties are here."""
    def answer(handler: Handler) -> None:
        barrier.wait(20)
        content(data)(handler)
    return answer
