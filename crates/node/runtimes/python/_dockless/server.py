"""The HTTP side for everything that blocks: connections of the listening socket, one request at a time."""

import io
import select
import socket

from .message import FAILED, Answer, Body, Malformed, take_head, verdict

# How much is read at once, in bytes.
PIECE = 65536


class Gone(ConnectionError):
    """The client left, or the host on its behalf."""


class Connection:
    """One of the host's connections and what has arrived on it."""

    def __init__(self, sock):
        sock.set_inheritable(False)
        self.sock = sock
        self.buffer = bytearray()
        # Of the last request: what is left of its body is thrown away before the next.
        self.body = None

    def fileno(self):
        return self.sock.fileno()

    def advance(self):
        """The next request's head, if all of it is here."""
        if self.body is not None:
            while not self.body.done and self.body.take(self.buffer, PIECE):
                pass
            if not self.body.done:
                return None
            self.body = None
        head = take_head(self.buffer)
        if head is not None:
            self.body = Body(head)
        return head


class Listener:
    """Accepts the host's connections and waits for what happens next on any of them."""

    def __init__(self, fd):
        # Never closed, for the reason that the control channel is not.
        self.sock = socket.socket(fileno=fd)
        self.sock.set_inheritable(False)
        self.sock.setblocking(False)
        self.connections = {}
        self._waker, self._woken = socket.socketpair()
        self._poll = select.poll()
        self._poll.register(self.sock, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)

    def wake(self):
        """From another thread: `next` returns."""
        self._waker.send(b"\0")

    def next(self, limit_ms=None):
        """A connection and the head of a request on it; None when woken or when the time is over."""
        while True:
            ready = self._poll.poll(limit_ms)
            if not ready:
                return None
            for fd, _ in ready:
                if fd == self._woken.fileno():
                    self._woken.recv(PIECE)
                    return None
                if fd == self.sock.fileno():
                    self._accept()
                    continue
                connection = self.connections[fd]
                if found := self._read(connection):
                    return connection, found

    def drop(self, connection):
        if self.connections.pop(connection.fileno(), None) is not None:
            self._poll.unregister(connection.sock)
        connection.sock.close()

    def give_away(self):
        """All connections, for a loop of another kind."""
        given = list(self.connections.values())
        for connection in given:
            self._poll.unregister(connection.sock)
        self.connections.clear()
        return given

    def _accept(self):
        try:
            sock, _ = self.sock.accept()
        except OSError:
            return
        sock.setblocking(True)
        connection = Connection(sock)
        self.connections[sock.fileno()] = connection
        self._poll.register(sock, select.POLLIN)

    def _read(self, connection):
        try:
            piece = connection.sock.recv(PIECE)
            connection.buffer += piece
            if piece:
                return connection.advance()
        except (OSError, Malformed, ValueError):
            pass
        self.drop(connection)
        return None


class Exchange:
    """One request and its answer, over a connection that blocks."""

    def __init__(self, connection, head):
        self.connection = connection
        self.head = head
        self.answer = Answer(head.method)

    def read(self, limit):
        """A piece of the request's body; empty at its end."""
        connection, body = self.connection, self.connection.body
        while True:
            data = body.take(connection.buffer, limit)
            if data or body.done:
                return data
            piece = connection.sock.recv(PIECE)
            if not piece:
                raise Gone("the client has left")
            connection.buffer += piece

    def input(self):
        """The body as a file."""
        return io.BufferedReader(_Input(self), PIECE)

    def write(self, data):
        if data:
            try:
                self.connection.sock.sendall(data)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise Gone("the client has left") from error

    def fail(self):
        """Answers for the function, never with what was raised. Says whether the connection can go on."""
        if self.answer.started:
            return False
        self.answer.ended = True
        self.write(verdict(self.head.method, 500, FAILED))
        return True


class _Input(io.RawIOBase):
    def __init__(self, exchange):
        self._exchange = exchange

    def readable(self):
        return True

    def readinto(self, target):
        data = self._exchange.read(len(target))
        target[: len(data)] = data
        return len(data)
