"""Classes derived from `http.server.BaseHTTPRequestHandler`: they read a request and write an answer as bytes.

Such a class is given the request's own bytes, and what it writes is taken apart again: it speaks HTTP/1.0 unless told
otherwise, where the end of an answer is the end of its connection, and the host's connection is to be kept.
"""

import io
from http.server import BaseHTTPRequestHandler

from .report import Fault
from .server import PIECE


class Unfinished(Fault):
    """The class has returned without a whole answer."""


def serve(kind, exchange):
    """Runs one request through the class."""
    request = _Socket(exchange)
    kind(request, (exchange.head.client(), 0), _Server(exchange.head))
    request.finish()


def quiet(kind):
    """The class without lines in the log about each request, unless it writes them itself."""
    if kind.log_request is not BaseHTTPRequestHandler.log_request:
        return kind
    space = {"log_request": lambda self, code="-", size="-": None, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), {**space, "__doc__": kind.__doc__, "__qualname__": kind.__qualname__})


class _Server:
    """What handlers look for on their server."""

    def __init__(self, head):
        self.server_name, port = head.server()
        self.server_port = int(port)
        self.server_address = (self.server_name, self.server_port)


class _Socket:
    """What `socketserver.StreamRequestHandler` does with a socket."""

    def __init__(self, exchange):
        self._exchange = exchange
        self._head = bytearray()
        self._is_open = False

    def makefile(self, mode="rb", buffering=-1, **_):
        if "w" in mode:
            return io.BufferedWriter(_Output(self), buffering if buffering > 1 else PIECE)
        return io.BufferedReader(_Request(self._exchange), PIECE)

    def sendall(self, data):
        answer, data = self._exchange.answer, bytes(data)
        if answer.ended:
            return
        if not self._is_open:
            self._head += data
            data = self._open()
        if data:
            self._exchange.write(answer.data(data))

    send = sendall

    def finish(self):
        if not self._is_open:
            raise Unfinished("the handler sent no answer: call send_response() and end_headers()")
        self._exchange.write(self._exchange.answer.end())

    def _open(self):
        """What has come of the body, once the head is whole."""
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            first, *lines = bytes(self._head[:end]).split(b"\r\n")
            del self._head[: end + 4]
            parts = first.split(b" ", 2)
            if not parts[0].startswith(b"HTTP/") or len(parts) < 2 or not parts[1].isdigit():
                raise Unfinished(f"the handler wrote something else than an answer: {first[:80]!r}")
            status = int(parts[1])
            if status < 200:
                continue  # "100 Continue" is between the host and the client
            headers = [line.split(b":", 1) for line in lines if b":" in line]
            kept = [(name, value.strip()) for name, value in headers if not _is_stamp(name.lower(), value)]
            self._exchange.answer.head(status, parts[2] if len(parts) > 2 else None, kept)
            self._is_open = True
            rest, self._head = bytes(self._head), bytearray()
            return rest
        return b""

    def settimeout(self, _):
        pass

    def setsockopt(self, *_):
        pass

    def shutdown(self, _):
        pass

    def close(self):
        pass

    def getpeername(self):
        return (self._exchange.head.client(), 0)


def _is_stamp(name, value):
    """What every answer of such a class carries: the host dates answers itself, and versions concern nobody."""
    return name == b"date" or (name == b"server" and b"BaseHTTP/" in value)


class _Output(io.RawIOBase):
    def __init__(self, sock):
        self._sock = sock

    def writable(self):
        return True

    def write(self, data):
        self._sock.sendall(data)
        return len(data)


class _Request(io.RawIOBase):
    """The request as it would have come over a socket, but with an end."""

    def __init__(self, exchange):
        self._exchange = exchange
        head = exchange.head
        lines = [f"{head.method} {head.target} HTTP/1.1".encode("latin-1")]
        # The body is given as it is meant, however it was carried.
        carried = (b"transfer-encoding", b"expect", b"connection")
        lines += [name + b": " + value for name, value in head.headers if name.lower() not in carried]
        self._head = b"\r\n".join(lines) + b"\r\n\r\n"

    def readable(self):
        return True

    def readinto(self, target):
        if self._head:
            data, self._head = self._head[: len(target)], self._head[len(target) :]
        else:
            data = self._exchange.read(len(target))
        target[: len(data)] = data
        return len(data)
