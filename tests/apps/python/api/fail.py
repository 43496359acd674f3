"""Every way to fail."""

import os
import sys
from urllib.parse import parse_qs

print("loading fail")


def app(environ, start_response):
    how = parse_qs(environ["QUERY_STRING"])["how"][0]
    if how == "raise":
        raise RuntimeError("the secret reason")
    if how == "exit":
        print("about to leave", end="")
        sys.exit(3)
    if how == "abort":
        os.abort()
    if how == "eat":
        start_response("200 OK", [])
        return [b"x" * (4 << 30)]
    if how == "late":
        start_response("200 OK", [])
        return late()
    raise ValueError(how)


def late():
    yield b"some"
    raise RuntimeError("too late to say so")
