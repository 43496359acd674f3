"""Says who it is, and stays until the client lets it go."""

import os

ID = os.urandom(8).hex().encode()


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield ID
    while environ["wsgi.input"].read1(1024):
        pass
