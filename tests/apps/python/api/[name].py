from urllib.parse import parse_qs

from ._lib.greeting import greet


def app(environ, start_response):
    name = parse_qs(environ["QUERY_STRING"])["name"][0]
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [greet(name).encode()]
