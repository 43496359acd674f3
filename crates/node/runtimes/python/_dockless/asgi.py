"""ASGI applications: the event loop, the lifespan, and requests side by side as far as the host sends them so."""

import asyncio
import socket
from urllib.parse import unquote

from .message import FAILED, Answer, Malformed, verdict
from .report import Fault
from .server import PIECE, Connection, Gone

VERSION = {"version": "3.0", "spec_version": "2.3"}


class Broken(Fault):
    """The application does not follow the protocol."""


class Lifespan:
    """Tells the application that it starts, and keeps its task."""

    def __init__(self, application):
        self._application = application
        self._asked = False
        self._settled = asyncio.get_running_loop().create_future()
        self._task = None
        self.state = {}

    async def startup(self):
        """Ends when the application is ready. One that knows no lifespan is."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        if (message := await self._settled) is not None:
            raise Broken(f"the application did not start: {message}")

    async def _run(self):
        scope = {"type": "lifespan", "asgi": VERSION, "state": self.state}
        try:
            await self._application(scope, self._receive, self._send)
        except Exception:
            pass  # how applications say that they know no lifespan
        if not self._settled.done():
            self._settled.set_result(None)

    async def _receive(self):
        if self._asked:
            # Instances end without notice.
            await asyncio.get_running_loop().create_future()
        self._asked = True
        return {"type": "lifespan.startup"}

    async def _send(self, message):
        if self._settled.done():
            return
        if message["type"] == "lifespan.startup.complete":
            self._settled.set_result(None)
        elif message["type"] == "lifespan.startup.failed":
            self._settled.set_result(message.get("message") or "no reason given")


class Server:
    """Serves a listener's connections from an event loop. `instance` begins and ends invocations."""

    def __init__(self, application, listener, instance):
        self._application = application
        self._listener = listener
        self._instance = instance
        self._state = {}
        self._tasks = set()

    async def start(self):
        lifespan = self._lifespan = Lifespan(self._application)
        await lifespan.startup()
        self._state = lifespan.state

    async def serve(self, first=()):
        """For ever. `first` are pairs of a connection and a request that came before."""
        began = {connection for connection, _ in first}
        for connection, head in first:
            self._spawn(self._connection(connection, head))
        for connection in self._listener.give_away():
            if connection not in began:
                self._spawn(self._connection(connection, None))
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener.sock)
            self._spawn(self._connection(Connection(sock), None))

    def _spawn(self, coroutine):
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, connection, head):
        connection.sock.setblocking(False)
        try:
            if head is None:
                head = connection.advance()
            while True:
                while head is None:
                    await more(connection)
                    head = connection.advance()
                if not await self._exchange(connection, head):
                    return
                head = connection.advance()
        except (OSError, Malformed, ValueError):
            pass
        finally:
            connection.sock.close()

    async def _exchange(self, connection, head):
        """One request; says whether the connection can go on."""
        invocation = self._instance.begin(head)
        exchange = Exchange(connection, head)
        keep = False
        try:
            if head.upgrade and head.header(b"upgrade").lower() == "websocket":
                await exchange.write(verdict(head.method, 501, "WEBSOCKET_IN_FUNCTION"))
                exchange.answer.ended = True
            else:
                await self._application(exchange.scope(self._state.copy()), exchange.receive, exchange.send)
            if not exchange.answer.ended and not exchange.is_left:
                raise Broken("the application returned without a whole answer")
            keep = exchange.answer.ended and not exchange.answer.broken
        except Gone:
            pass
        except Exception as error:
            self._instance.note_failure(invocation, error)
            keep = await exchange.fail()
        # Not where the process is about to exit: then there is no end but that.
        exchange.close()
        self._instance.end(invocation)
        return keep


async def more(connection):
    piece = await asyncio.get_running_loop().sock_recv(connection.sock, PIECE)
    if not piece:
        raise Gone("the client has left")
    connection.buffer += piece


class Exchange:
    """One request and its answer, as ASGI has them."""

    def __init__(self, connection, head):
        self._connection = connection
        self._head = head
        self.answer = Answer(head.method)
        self._heard_all = False
        # The client has gone, and the application was told.
        self.is_left = False
        self._is_over = asyncio.get_running_loop().create_future()

    def scope(self, state):
        head = self._head
        path, query = head.path_and_query()
        name, port = head.server()
        return {
            "type": "http",
            "asgi": VERSION,
            "http_version": "1.1",
            "method": head.method.upper(),
            "scheme": head.scheme(),
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in head.headers],
            "client": (head.client(), 0),
            "server": (name, int(port)),
            "state": state,
        }

    async def receive(self):
        connection = self._connection
        if not self._heard_all:
            body = connection.body
            while True:
                data = body.take(connection.buffer, PIECE)
                if data or body.done:
                    self._heard_all = body.done
                    return {"type": "http.request", "body": data, "more_body": not body.done}
                try:
                    await more(connection)
                except OSError:
                    self._heard_all = self.is_left = True
                    return {"type": "http.disconnect"}
        await self._left()
        return {"type": "http.disconnect"}

    async def _left(self):
        """Ends when the answer is over or the client gone."""
        if self._is_over.done():
            return
        # What would come before the answer is over is the end of the connection.
        waiting = asyncio.ensure_future(more(self._connection))
        try:
            await asyncio.wait((waiting, self._is_over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if waiting.done() and not waiting.cancelled() and waiting.exception() is not None:
                self.is_left = not self.answer.ended
            waiting.cancel()

    async def send(self, message):
        answer = self.answer
        kind = message["type"]
        if answer.ended:
            return
        if kind == "http.response.start":
            if answer.has_head:
                raise Broken("a second http.response.start")
            answer.head(message["status"], None, [(bytes(name), bytes(value)) for name, value in message.get("headers", ())])
        elif kind == "http.response.body":
            if not answer.has_head:
                raise Broken("http.response.body before http.response.start")
            piece = bytes(message.get("body", b""))
            if message.get("more_body", False):
                await self.write(answer.data(piece))
            else:
                await self.write(answer.whole(piece))
                self.close()
        else:
            raise Broken(f"a message of an unknown type: {kind!r}")

    async def write(self, data):
        if data:
            try:
                await asyncio.get_running_loop().sock_sendall(self._connection.sock, data)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise Gone("the client has left") from error

    async def fail(self):
        if self.answer.started:
            return False
        self.answer.ended = True
        try:
            await self.write(verdict(self._head.method, 500, FAILED))
        except Gone:
            return False
        return True

    def close(self):
        if not self._is_over.done():
            self._is_over.set_result(None)


def rehearse(application, request):
    """Runs one request through an application, over a connection to itself."""
    ours, theirs = socket.socketpair()

    class Nobody:
        def begin(self, head):
            return None

        def note_failure(self, invocation, error):
            raise error

        def end(self, invocation):
            pass

    async def run():
        server = Server(application, None, Nobody())
        await server.start()
        theirs.sendall(request)
        theirs.shutdown(socket.SHUT_WR)
        await server._connection(Connection(ours), None)

    asyncio.run(run())
    answer = theirs.recv(PIECE)
    theirs.close()
    return answer
