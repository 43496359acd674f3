"""Runs handlers of our own through everything a real one will need, while nobody is waiting.

What is imported here stays in memory, in every instance, and saves its time in every function that imports it: the parts
of the library that most functions and frameworks use.
"""

import gc
import socket
import sys

LIBRARY = (
    "asyncio base64 collections.abc contextlib copy csv dataclasses datetime decimal email.message email.utils enum "
    "functools hashlib hmac html http.cookies http.server inspect io itertools json logging math mimetypes os pathlib "
    "queue random re secrets signal ssl string struct subprocess tempfile threading time traceback types typing "
    "urllib.parse urllib.request uuid weakref"
).split()

REQUEST = (
    b"POST /api/rehearsal?a=1&b=%20 HTTP/1.1\r\nhost: rehearsal.localhost\r\ncontent-type: application/json\r\n"
    b"cookie: a=1; b=2\r\nx-forwarded-for: 127.0.0.1\r\nx-forwarded-proto: https\r\ncontent-length: 7\r\n\r\n"
    b'{"a":1}'
)


def rehearse():
    """Once; a second time changes nothing."""
    from importlib import import_module

    for name in LIBRARY:
        try:
            import_module(name)
        except ImportError:
            pass  # an interpreter that was built without it
    from . import asgi, handler, wsgi
    from .load import choose
    from .instance import server_of

    for shape, found in (choose(Defined(handler=Rehearsed()), ""), choose(Defined(app=application), "")):
        run(server_of(shape, found))
    asgi.rehearse(choose(Defined(app=asynchronous), "")[1], REQUEST)
    print("", end="", flush=True)
    print("", end="", file=sys.stderr, flush=True)
    gc.collect()
    # What is here now lives as long as the process: collections need not look at it, and copy its pages, again.
    gc.freeze()


class Defined:
    """A module."""

    def __init__(self, **names):
        self.__dict__.update(names)


def run(serve):
    from .server import Connection, Exchange

    ours, theirs = socket.socketpair()
    theirs.sendall(REQUEST)
    connection = Connection(ours)
    connection.buffer += ours.recv(65536)
    exchange = Exchange(connection, connection.advance())
    serve(exchange)
    theirs.recv(65536)
    ours.close()
    theirs.close()


def Rehearsed():
    import json
    from http.server import BaseHTTPRequestHandler

    class handler(BaseHTTPRequestHandler):
        def do_POST(self):
            length = int(self.headers["content-length"])
            body = json.dumps(json.loads(self.rfile.read(length))).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            self.wfile.write(body)

    return handler


def application(environ, start_response):
    import json

    given = json.loads(environ["wsgi.input"].read())
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps(given).encode()]


async def asynchronous(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": message["body"], "more_body": True})
    await send({"type": "http.response.body", "body": b""})
