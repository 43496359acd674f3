"""Echoes as it reads."""


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    yield b"ready"
    while piece := environ["wsgi.input"].read1(65536):
        yield piece
