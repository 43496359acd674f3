"""WSGI applications (PEP 3333)."""

import sys
from urllib.parse import unquote_to_bytes

from .report import Fault, flush


class Broken(Fault):
    """The application does not follow the protocol."""


def serve(application, exchange):
    """Runs one request through the application."""
    answer = exchange.answer
    body = ()

    def start_response(status, headers, exc_info=None):
        if exc_info is not None:
            try:
                if answer.started:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None
        elif answer.has_head:
            raise Broken("start_response was called twice")
        code, _, reason = status.partition(" ")
        pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        answer.head(int(code), reason.encode("latin-1"), pairs)
        return write

    def write(piece):
        exchange.write(answer.data(piece))

    try:
        body = application(environ(exchange), start_response)
        # A body of one piece needs no framing: its length is known.
        if isinstance(body, (list, tuple)) and len(body) == 1 and answer.has_head:
            exchange.write(answer.whole(body[0]))
            return
        for piece in body:
            if not answer.has_head:
                raise Broken("the application gave a body before it called start_response")
            if piece:
                exchange.write(answer.data(piece))
        if not answer.has_head:
            raise Broken("the application did not call start_response")
        exchange.write(answer.end())
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
        flush()


def environ(exchange):
    head = exchange.head
    path, query = head.path_and_query()
    name, port = head.server()
    values = {
        "REQUEST_METHOD": head.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "REQUEST_URI": head.target,
        "RAW_URI": head.target,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": name,
        "SERVER_PORT": port,
        "REMOTE_ADDR": head.client(),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": head.scheme(),
        "wsgi.input": exchange.input(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw, value in head.headers:
        lower, value = raw.lower(), value.decode("latin-1")
        if lower == b"content-type":
            values["CONTENT_TYPE"] = value
        elif lower == b"content-length":
            values["CONTENT_LENGTH"] = value
        elif b"_" not in lower:
            # A name with an underscore would be another one's twin here.
            key = "HTTP_" + lower.decode("latin-1").upper().replace("-", "_")
            known = values.get(key)
            values[key] = value if known is None else known + ("; " if key == "HTTP_COOKIE" else ",") + value
    return values
