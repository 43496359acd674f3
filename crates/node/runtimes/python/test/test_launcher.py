"""The launcher's promises, each against the real process: python3 -m unittest discover -s test"""

import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from sandbox import Sandbox, read_answer  # noqa: E402

HANDLER = """
    from http.server import BaseHTTPRequestHandler

    class handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Set-Cookie", "a=1")
            self.send_header("Set-Cookie", "b=2")
            self.end_headers()
            self.wfile.write(self.path.encode())

        do_HEAD = do_GET

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.send_response(201, "Made")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[::-1])
"""
WSGI = """
    import json

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/stream":
            start_response("200 OK", [("content-type", "text/plain")])
            return iter([b"one ", b"", b"two"])
        body = environ["wsgi.input"].read()
        told = {k: v for k, v in environ.items() if isinstance(v, str)}
        start_response("200 OK", [("content-type", "application/json"), ("x-a", "1"), ("x-a", "2")])
        return [json.dumps({"environ": told, "body": body.decode("latin-1")}).encode()]
"""
ASGI = """
    import asyncio, json
    state = []

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            assert (await receive())["type"] == "lifespan.startup"
            scope["state"]["ready"] = "yes"
            await send({"type": "lifespan.startup.complete"})
            await receive()
        if scope["path"] == "/raise":
            raise ValueError("secret")
        if scope["path"] == "/short":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            raise ValueError("late")
        if scope["path"] == "/leave":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
            message = await receive()
            while message["type"] != "http.disconnect":
                message = await receive()
            print("left", flush=True)
            return
        if scope["path"] == "/echo":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                await send({"type": "http.response.body", "body": message["body"], "more_body": message["more_body"]})
                if not message["more_body"]:
                    return
        body = (await receive())["body"]
        told = {k: v for k, v in scope.items() if isinstance(v, (str, list, dict))}
        told["headers"] = {k.decode(): v.decode() for k, v in scope["headers"]}
        told["raw_path"], told["query_string"] = scope["raw_path"].decode(), scope["query_string"].decode()
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps({"scope": told, "body": body.decode()}).encode()})
"""


class Shapes(unittest.TestCase):
    def test_a_handler_class_answers(self):
        with Sandbox() as sandbox:
            self.assertEqual(sandbox.become(HANDLER)["payload"]["shape"], "handler")
            connection = sandbox.connect()
            answer = sandbox.request(target="/a%20b?c=1", connection=connection)
            self.assertEqual((answer.status, answer.text, answer.whole), (200, "/a%20b?c=1", True))
            self.assertEqual(answer.headers["set-cookie"], ["a=1", "b=2"])
            self.assertNotIn("date", answer.headers)
            self.assertNotIn("server", answer.headers)
            self.assertEqual(sandbox.frame(), {"type": "end", "payload": {"context": {"invocationId": "req_1", "requestId": 1}}})
            answer = sandbox.request("POST", body=b"abc", connection=connection, number=2)
            self.assertEqual((answer.status, answer.text), (201, "cba"))
            self.assertEqual(sandbox.frame()["payload"]["context"]["requestId"], 2)
            self.assertEqual(sandbox.request("HEAD", connection=connection).status, 200)
            self.assertEqual(sandbox.request("DELETE", connection=connection).status, 501)
            _, errors = sandbox.stop()
            self.assertNotIn("GET", errors)

    def test_a_wsgi_application_answers(self):
        with Sandbox() as sandbox:
            self.assertEqual(sandbox.become(WSGI)["payload"]["shape"], "wsgi")
            connection = sandbox.connect()
            headers = [("X-Forwarded-For", "1.2.3.4, 5.6.7.8"), ("X-Forwarded-Proto", "https"), ("Cookie", "a=1"), ("Cookie", "b=2"), ("X_A", "no")]
            answer = sandbox.request("POST", "/gr%C3%A4fin?q=%20", headers, b"\xff\x00", connection=connection)
            told = json.loads(answer.body)
            environ = told["environ"]
            self.assertEqual(told["body"], "\xff\x00")
            self.assertEqual(environ["PATH_INFO"].encode("latin-1").decode(), "/gräfin")
            for key, value in {
                "QUERY_STRING": "q=%20", "REMOTE_ADDR": "1.2.3.4", "wsgi.url_scheme": "https", "SERVER_NAME": "x.localhost",
                "SERVER_PORT": "3000", "HTTP_COOKIE": "a=1; b=2", "CONTENT_LENGTH": "2", "REQUEST_METHOD": "POST", "SCRIPT_NAME": "",
            }.items():
                self.assertEqual(environ[key], value, key)
            self.assertFalse([key for key in environ if "INTERNAL" in key or key == "HTTP_X_A"])
            self.assertEqual(answer.headers["x-a"], ["1", "2"])
            self.assertIn("content-length", answer.headers)
            answer = sandbox.request(target="/stream", connection=connection)
            self.assertEqual((answer.text, answer.headers["transfer-encoding"]), ("one two", ["chunked"]))

    def test_an_asgi_application_answers(self):
        with Sandbox() as sandbox:
            self.assertEqual(sandbox.become(ASGI)["payload"]["shape"], "asgi")
            connection = sandbox.connect()
            answer = sandbox.request("POST", "/gr%C3%A4fin?q=%20", [("X-Forwarded-For", "1.2.3.4")], b"abc", connection=connection)
            told = json.loads(answer.body)
            self.assertEqual((answer.status, told["body"]), (202, "abc"))
            for key, value in {"path": "/gräfin", "raw_path": "/gr%C3%A4fin", "query_string": "q=%20", "method": "POST", "scheme": "http"}.items():
                self.assertEqual(told["scope"][key], value, key)
            self.assertEqual(told["scope"]["state"], {"ready": "yes"})
            self.assertEqual(told["scope"]["headers"]["host"], "x.localhost:3000")
            self.assertEqual(sandbox.frame()["type"], "end")
            # Streaming both ways: each piece is answered before the next is sent.
            connection.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            for piece in (b"one", b"two"):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                seen = b""
                while piece not in seen:
                    seen += connection.recv(65536)
            connection.sendall(b"0\r\n\r\n")
            seen = b""
            while not seen.endswith(b"0\r\n\r\n"):
                seen += connection.recv(65536)
            self.assertEqual(sandbox.frame()["type"], "end")
            answer = sandbox.request(target="/raise", connection=connection)
            self.assertEqual((answer.status, answer.headers["x-dockless-internal-error"], answer.body), (500, ["FUNCTION_FAILED"], b""))
            self.assertEqual(sandbox.frame()["payload"]["error"], {"kind": "threw", "message": "ValueError: secret"})
            answer = sandbox.request(target="/short", connection=connection)
            self.assertFalse(answer.whole)
            self.assertEqual(sandbox.frame()["payload"]["error"]["message"], "ValueError: late")
            # A client that leaves is heard of.
            connection = sandbox.connect()
            sandbox.start(connection, target="/leave")
            connection.recv(65536)
            connection.close()
            self.assertEqual(sandbox.frame()["type"], "end")
            output, errors = sandbox.stop()
            self.assertEqual(output, "left\n")
            self.assertIn('raise ValueError("secret")', errors)
            self.assertNotIn("_dockless", errors)

    def test_asgi_without_lifespan_and_one_that_does_not_start(self):
        plain = """
            class App:
                async def __call__(self, scope, receive, send):
                    assert scope["type"] == "http"
                    await send({"type": "http.response.start", "status": 204})
                    await send({"type": "http.response.body"})
            application = App()
        """
        with Sandbox() as sandbox:
            self.assertEqual(sandbox.become(plain)["payload"]["shape"], "asgi")
            answer = sandbox.request()
            self.assertEqual((answer.status, answer.headers), (204, {}))
        failing = """
            async def app(scope, receive, send):
                await receive()
                await send({"type": "lifespan.startup.failed", "message": "no database"})
        """
        with Sandbox() as sandbox:
            frame = sandbox.become(failing)
            self.assertEqual(frame["type"], "unrecoverable-error")
            self.assertIn("no database", frame["payload"]["message"])
            self.assertEqual(sandbox.ended()[2], 1)

    def test_shapes_are_told_apart(self):
        for text, shape in (
            ("import functools\nasync def f(a, scope, receive, send): ...\napp = functools.partial(f, 1)", "asgi"),
            ("app = lambda environ, start_response: []", "wsgi"),
            ("app = lambda *rest: []", "wsgi"),
            ("class A:\n    def __call__(self, environ, start): ...\napp = A()", "wsgi"),
            ("class A:\n    def __call__(self, scope, receive, send): ...\napp = A()", "asgi"),
            ("def handler(environ, start_response): ...", "wsgi"),
        ):
            with self.subTest(text), Sandbox() as sandbox:
                frame = sandbox.become(text)
                self.assertEqual(frame["payload"].get("shape"), shape, frame)


class Life(unittest.TestCase):
    def test_a_request_before_go_waits_and_a_warm_up_does_not(self):
        with Sandbox() as sandbox:
            connection = sandbox.connect()
            answer = sandbox.request(headers=[("x-dockless-internal-warmup", "1")], connection=connection)
            self.assertEqual(answer.status, 200)
            sandbox.tell("status")
            self.assertEqual(sandbox.frame()["payload"], {"state": "waiting", "invocationId": None, "requestId": None})
            sandbox.start(connection, target="/early")
            time.sleep(0.05)
            self.assertEqual(sandbox.become(HANDLER)["type"], "handler-loaded")
            self.assertEqual(read_answer(connection).text, "/early")
            self.assertEqual(sandbox.stop(), ("", ""))

    def test_status_is_told_while_the_function_runs(self):
        slow = """
            import time
            def app(environ, start_response):
                time.sleep(0.3)
                start_response("204 No Content", [])
                return []
        """
        with Sandbox() as sandbox:
            sandbox.become(slow)
            connection = sandbox.connect()
            sandbox.start(connection, number=7)
            time.sleep(0.1)
            sandbox.tell("status")
            self.assertEqual(sandbox.frame()["payload"], {"state": "busy", "invocationId": "req_7", "requestId": 7})
            self.assertEqual(read_answer(connection).status, 204)
            self.assertEqual(sandbox.frame()["type"], "end")
            sandbox.tell("status")
            self.assertEqual(sandbox.frame()["payload"]["state"], "idle")

    def test_a_body_that_nobody_reads_does_not_spoil_the_next_request(self):
        with Sandbox() as sandbox:
            sandbox.become(HANDLER.replace("do_POST", "do_PUT") + "\n        def do_POST(self):\n            self.send_response(204)\n            self.end_headers()\n")
            connection = sandbox.connect()
            sandbox.start(connection, "POST", headers=[("content-length", "200000")])
            self.assertEqual(read_answer(connection).status, 204)
            self.assertEqual(sandbox.frame()["type"], "end")
            connection.sendall(b"x" * 200000)
            self.assertEqual(sandbox.request(target="/next", connection=connection).text, "/next")

    def test_the_environment_is_what_go_says(self):
        text = """
            import json, os, sys, time
            def app(environ, start_response):
                start_response("200 OK", [])
                return [json.dumps([dict(os.environ), time.tzname, sys.path, os.getcwd(), sys.argv, __name__]).encode()]
        """
        with Sandbox() as sandbox:
            sandbox.become(text, env={"A": "1", "TZ": "Europe/Berlin"})
            env, zone, path, folder, argv, name = json.loads(sandbox.request().body)
            self.assertEqual((env["A"], env["GIVEN"]), ("1", "yes"))
            self.assertEqual(zone[0], "CET")
            self.assertEqual((path[0], path[-1]), (folder, folder + "/api"))
            self.assertFalse([entry for entry in path if "runtimes/python" in entry])
            self.assertEqual((argv, name), ([folder + "/api/index.py"], "api.index"))

    def test_modules_are_found_beside_and_among_packages(self):
        with Sandbox() as sandbox:
            sandbox.write("api/_lib/one.py", "value = 1")
            sandbox.write("two.py", "value = 2")
            sandbox.write("_vendor/three/__init__.py", "value = 3")
            sandbox.write("api/four.py", "value = 4")
            sandbox.become("""
                from ._lib.one import value as one
                import two, three, four
                def app(environ, start_response):
                    start_response("200 OK", [])
                    return [str([one, two.value, three.value, four.value]).encode()]
            """, entry="api/[id].py")
            self.assertEqual(sandbox.request().text, "[1, 2, 3, 4]")


class Failures(unittest.TestCase):
    def test_what_is_raised_is_told_to_the_author_alone(self):
        text = """
            def app(environ, start_response):
                if environ["PATH_INFO"] == "/late":
                    start_response("200 OK", [])
                    return late()
                raise RuntimeError("the secret")
            def late():
                yield b"x"
                raise RuntimeError("late")
        """
        with Sandbox() as sandbox:
            sandbox.become(text)
            connection = sandbox.connect()
            answer = sandbox.request(connection=connection)
            self.assertEqual((answer.status, answer.body), (500, b""))
            self.assertEqual(answer.headers["x-dockless-internal-error"], ["FUNCTION_FAILED"])
            self.assertEqual(sandbox.frame()["payload"]["error"], {"kind": "threw", "message": "RuntimeError: the secret"})
            self.assertFalse(sandbox.request(target="/late", connection=connection).whole)
            self.assertEqual(sandbox.frame()["payload"]["error"]["message"], "RuntimeError: late")
            _, errors = sandbox.stop()
            self.assertIn("Traceback (most recent call last)", errors)
            self.assertIn("the secret", errors)
            self.assertNotIn("_dockless", errors)

    def test_a_module_that_does_not_load_answers_and_exits(self):
        for text, words in (
            ("import nosuchmodule", "requirements.txt"),
            ("x = (", "SyntaxError"),
            ("raise ValueError('at import')", "at import"),
            ("x = 1", "defines neither `handler` nor `app`"),
            ("handler = 3", "cannot be called"),
            ("class handler: pass", "no subclass"),
            ("def app(a): ...", "takes neither"),
        ):
            with self.subTest(text), Sandbox() as sandbox:
                connection = sandbox.connect()
                sandbox.start(connection)
                sandbox.write("api/index.py", text)
                sandbox.go("api/index.py")
                self.assertEqual(read_answer(connection).status, 500)
                end = sandbox.frame()
                self.assertEqual((end["type"], end["payload"]["error"]["kind"]), ("end", "uncaught"))
                self.assertEqual(sandbox.frame()["type"], "unrecoverable-error")
                _, errors, code = sandbox.ended()
                self.assertEqual(code, 1)
                self.assertIn(words, errors)
                self.assertNotIn("_dockless", errors)

    def test_a_function_that_exits_takes_the_process_along(self):
        for text in (
            "import sys\ndef app(environ, start_response):\n    print('bye', end='')\n    sys.exit(3)",
            "import sys\nasync def app(scope, receive, send):\n    if scope['type'] == 'http':\n        print('bye', end='')\n        sys.exit(3)",
        ):
            with self.subTest(text), Sandbox() as sandbox:
                sandbox.become(text)
                with self.assertRaises(EOFError):
                    sandbox.request()
                self.assertEqual(sandbox.ended(), ("bye", "", 3))
                with self.assertRaises(EOFError):
                    sandbox.frame()

    def test_headers_cannot_be_split(self):
        text = """
            def app(environ, start_response):
                start_response("200 OK", [("x-a", "1\\r\\nx-b: 2")])
                return []
        """
        with Sandbox() as sandbox:
            sandbox.become(text)
            self.assertEqual(sandbox.request().status, 500)

    def test_garbage_on_the_control_channel_ends_the_process(self):
        with Sandbox() as sandbox:
            sandbox.control.sendall(b"hello\0")
            self.assertEqual(sandbox.ended()[2], 1)


if __name__ == "__main__":
    unittest.main()
