"""The launcher as the host starts it, for tests: its two descriptors, and a host that speaks to them."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import textwrap

LAUNCHER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "launcher.py")
LIMIT = 20


class Answer:
    def __init__(self, status, headers, body, whole):
        self.status, self.headers, self.body, self.whole = status, headers, body, whole

    @property
    def text(self):
        return self.body.decode()


class Sandbox:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        path = os.path.join(self.folder.name, "s")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)
        self.path = path
        self.control, theirs = socket.socketpair()
        self.control.settimeout(LIMIT)
        self._buffer = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(self.listener.fileno()), str(theirs.fileno()), sys.executable, LAUNCHER],
            pass_fds=(self.listener.fileno(), theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        assert self.frame()["type"] == "server-started"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()
        self.control.close()
        self.listener.close()
        self.folder.cleanup()

    def write(self, name, text):
        path = os.path.join(self.folder.name, "task", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(textwrap.dedent(text))

    def go(self, entry, env=None):
        payload = {"entry": entry, "root": os.path.join(self.folder.name, "task"), "env": env or {}}
        self.tell("go", payload)

    def become(self, text, entry="api/index.py", env=None):
        """Loads a function; gives the frame that follows."""
        self.write(entry, text)
        self.go(entry, env)
        return self.frame()

    def tell(self, kind, payload=None):
        self.control.sendall(json.dumps({"type": kind, "payload": payload}).encode() + b"\0")

    def frame(self):
        while (end := self._buffer.find(0)) < 0:
            piece = self.control.recv(65536)
            if not piece:
                raise EOFError("the launcher is gone")
            self._buffer += piece
        frame = json.loads(bytes(self._buffer[:end]))
        del self._buffer[: end + 1]
        return frame

    def connect(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(LIMIT)
        connection.connect(self.path)
        return connection

    def start(self, connection, method="GET", target="/", headers=(), body=None, number=1):
        lines = [f"{method} {target} HTTP/1.1", "host: x.localhost:3000"]
        lines += [f"x-dockless-internal-invocation-id: req_{number}", f"x-dockless-internal-request-id: {number}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))

    def request(self, method="GET", target="/", headers=(), body=None, number=1, connection=None):
        own = connection is None
        connection = connection or self.connect()
        try:
            self.start(connection, method, target, headers, body, number)
            return read_answer(connection, method)
        finally:
            if own:
                connection.close()

    def ended(self):
        """Output, errors and code of a process that leaves by itself."""
        output, errors = self.process.communicate(timeout=LIMIT)
        return output.decode(), errors.decode(), self.process.returncode

    def stop(self):
        self.process.kill()
        output, errors = self.process.communicate()
        return output.decode(), errors.decode()


CHILD = """
import os, sys
listener, control, *argv = sys.argv[1:]
a, b = os.dup(int(listener)), os.dup(int(control))
os.dup2(a, 3); os.dup2(b, 4)
os.closerange(5, 64)
os.execve(argv[0], [argv[0], "-s", "-B", argv[1]], {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "GIVEN": "yes"})
"""


def read_answer(connection, method="GET"):
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = connection.recv(65536)
        if not piece:
            raise EOFError(f"no whole head: {bytes(data)!r}")
        data += piece
    first, *lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    del data[: end + 4]
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    status = int(first.split(" ")[1])

    def fill():
        piece = connection.recv(65536)
        data.extend(piece)
        return bool(piece)

    if method == "HEAD" or status in (204, 304):
        return Answer(status, headers, b"", True)
    if "content-length" in headers:
        length = int(headers["content-length"][0])
        while len(data) < length and fill():
            pass
        return Answer(status, headers, bytes(data), len(data) == length)
    body = bytearray()
    while True:
        while b"\r\n" not in data:
            if not fill():
                return Answer(status, headers, bytes(body), False)
        size, _, rest = bytes(data).partition(b"\r\n")
        size = int(size, 16)
        while len(data) < len(bytes(data).partition(b"\r\n")[0]) + 2 + size + 2:
            if not fill():
                return Answer(status, headers, bytes(body), False)
        rest = bytes(data).partition(b"\r\n")[2]
        body += rest[:size]
        data[:] = rest[size + 2 :]
        if size == 0:
            return Answer(status, headers, bytes(body), True)
