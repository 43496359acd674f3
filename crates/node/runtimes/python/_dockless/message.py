"""HTTP/1.1 as bytes: heads of requests, bodies of requests, heads of answers. Nothing in here waits or reads.

The far end is the host, which has checked everything a client sent; this reads what it writes and no more.
"""

# Headers with this prefix are between the host and this program.
INTERNAL = b"x-dockless-internal-"

# The host bounds heads before they come here; this only has to be larger than its bound.
HEAD_LIMIT = 256 * 1024

# What says how a message is carried over one connection is ours to say.
HOP_BY_HOP = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding"))

FAILED = "FUNCTION_FAILED"

REASONS = {200: b"OK", 204: b"No Content", 404: b"Not Found", 500: b"Internal Server Error", 501: b"Not Implemented"}


class Malformed(Exception):
    """The far end does not speak HTTP/1.1."""


class Head:
    """A request without its body. `headers` are pairs of bytes, names as they were written."""

    __slots__ = ("method", "target", "headers", "internal", "length", "chunked", "upgrade")

    def __init__(self, lines):
        first, *lines = lines
        parts = first.split(b" ")
        if len(parts) != 3 or not parts[2].startswith(b"HTTP/1."):
            raise Malformed(f"not a request line: {first[:80]!r}")
        self.method = parts[0].decode("latin-1")
        self.target = parts[1].decode("latin-1")
        self.headers = []
        self.internal = {}
        self.length = 0
        self.chunked = False
        self.upgrade = False
        for line in lines:
            name, colon, value = line.partition(b":")
            if not colon:
                raise Malformed(f"not a header: {line[:80]!r}")
            value = value.strip(b" \t")
            lower = name.lower()
            if lower.startswith(INTERNAL):
                self.internal.setdefault(lower[len(INTERNAL) :].decode("latin-1"), value.decode("latin-1"))
                continue
            if lower == b"content-length":
                self.length = int(value)
            elif lower == b"transfer-encoding":
                self.chunked = True
            elif lower == b"upgrade":
                self.upgrade = True
            self.headers.append((name, value))

    def header(self, name):
        """The first of a name in lower case, or an empty text."""
        for known, value in self.headers:
            if known.lower() == name:
                return value.decode("latin-1")
        return ""

    def path_and_query(self):
        path, _, query = self.target.partition("?")
        return path or "/", query

    def client(self):
        """The client's address as the host tells it."""
        forwarded = self.header(b"x-forwarded-for").split(",")[0].strip()
        return forwarded or self.header(b"x-real-ip") or "127.0.0.1"

    def scheme(self):
        return self.header(b"x-forwarded-proto").split(",")[0].strip() or "http"

    def server(self):
        """Name and port that the client asked for."""
        host = self.header(b"host") or "localhost"
        name, colon, port = host.rpartition(":")
        if not colon or not port.isdigit():
            name, port = host, ""
        port = self.header(b"x-forwarded-port") or port or ("443" if self.scheme() == "https" else "80")
        return name, port if port.isdigit() else "80"


def take_head(buffer):
    """Cuts the next request's head off; None while it is not whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > HEAD_LIMIT:
            raise Malformed("a head has no end")
        return None
    lines = bytes(buffer[:end]).split(b"\r\n")
    del buffer[: end + 4]
    return Head(lines)


class Body:
    """Cuts a request's body out of what has arrived."""

    __slots__ = ("_left", "_chunked", "_in_chunk", "done")

    def __init__(self, head):
        self._chunked = head.chunked
        self._left = 0 if head.chunked else head.length
        self._in_chunk = False
        self.done = not head.chunked and head.length == 0

    def take(self, buffer, limit):
        """At most `limit` bytes of it; empty while more has to arrive, or for ever once it is `done`."""
        while not self.done:
            if self._left == 0 and not self._next_chunk(buffer):
                return b""
            if self._left > 0:
                if not buffer:
                    return b""
                size = min(self._left, limit, len(buffer))
                data = bytes(buffer[:size])
                del buffer[:size]
                self._left -= size
                if self._left == 0 and not self._chunked:
                    self.done = True
                return data
        return b""

    def _next_chunk(self, buffer):
        """Whether there is something to go on with."""
        if self._in_chunk:
            if len(buffer) < 2:
                return False
            del buffer[:2]
            self._in_chunk = False
        end = buffer.find(b"\r\n")
        if end < 0:
            return False
        size = int(bytes(buffer[:end]).split(b";")[0], 16)
        if size > 0:
            del buffer[: end + 2]
            self._left = size
            self._in_chunk = True
            return True
        # Trailers are nobody's here. They end with an empty line, which may be the first.
        if buffer[end + 2 : end + 4] == b"\r\n":
            del buffer[: end + 4]
        else:
            last = buffer.find(b"\r\n\r\n", end)
            if last < 0:
                return False
            del buffer[: last + 4]
        self.done = True
        return True


class Answer:
    """Frames an answer: what `head`, `data` and `end` give is to be written in this order."""

    __slots__ = ("_has_body", "_is_bare", "_left", "_chunked", "_pending", "started", "ended", "broken")

    def __init__(self, method):
        self._has_body = method != "HEAD"
        # Of a status that has neither body nor length.
        self._is_bare = False
        self._left = None
        self._chunked = False
        self._pending = None
        # Bytes have been given out.
        self.started = False
        self.ended = False
        # It ended with less than it announced, so that the connection has to say so by its end.
        self.broken = False

    @property
    def has_head(self):
        return self._pending is not None or self.started

    def head(self, status, reason, headers):
        """`headers` are pairs of bytes. Nothing is given out before the first data or the end."""
        if self.started:
            raise RuntimeError("the head of the answer is written already")
        if not 200 <= status <= 999:
            raise ValueError(f"not a status of a final answer: {status}")
        lines = [b"HTTP/1.1 %d %s\r\n" % (status, reason or REASONS.get(status) or _reason(status))]
        length = None
        for name, value in headers:
            lower = name.lower()
            if lower in HOP_BY_HOP:
                continue
            if b"\r" in value or b"\n" in value or b"\0" in value or not name or b"\n" in name or b":" in name:
                raise ValueError(f"not a header: {name!r}: {value!r}")
            if lower == b"content-length":
                length = int(value)
                continue
            lines.append(b"%s: %s\r\n" % (name, value))
        if status in (204, 304):
            self._has_body = False
            self._is_bare = True
        self._left = length
        self._pending = lines

    def data(self, piece):
        """The bytes that carry a piece of the body."""
        if self._pending is None and not self.started:
            raise RuntimeError("a body before its head")
        head = b"" if self.started else self._open(None)
        if not piece or not self._has_body:
            return head
        if self._chunked:
            return b"%s%x\r\n%s\r\n" % (head, len(piece), piece)
        if self._left is not None:
            piece = piece[: self._left]
            self._left -= len(piece)
        return head + piece

    def whole(self, piece):
        """The bytes of an answer that is this body and nothing else."""
        if self.started:
            return self.data(piece) + self.end()
        if self._left is None and not self._is_bare:
            self._left = len(piece)
        return self.data(piece) + self.end()

    def end(self):
        """The last bytes."""
        if self.ended:
            return b""
        self.ended = True
        last = b"" if self.started else self._open(0 if self._has_body else None)
        if self._chunked and self._has_body:
            return last + b"0\r\n\r\n"
        self.broken = self._has_body and bool(self._left)
        return last

    def _open(self, length):
        lines = self._pending
        if self._left is None and length is not None:
            self._left = length
        if self._left is not None:
            lines.append(b"content-length: %d\r\n" % self._left)
        elif self._has_body:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self.started = True
        self._pending = None
        return b"".join(lines)


def _reason(status):
    from http import HTTPStatus

    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown"


def verdict(method, status, code):
    """An empty answer that carries one of the platform's codes."""
    answer = Answer(method)
    answer.head(status, None, [(b"x-dockless-internal-error", code.encode())])
    return answer.whole(b"")
