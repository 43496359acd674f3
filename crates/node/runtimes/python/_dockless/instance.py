"""This process as the host sees it.

    waiting ──go──► loading ─► ready (idle or busy) ...
                       └─► failed ─► exit

Requests may come at any time; those that come before the function is loaded wait, their bodies unread. The main thread
runs all user code: libraries expect that of signals, event loops and databases.
"""

import os
import sys
import time

from . import report
from .control import Control
from .load import LoadError, choose, load
from .server import Exchange, Gone, Listener

# How long a function that cannot be loaded waits for a request to answer, in milliseconds.
FAILED_GRACE_MS = 100

# Ids of a request that came without: the host's word for "none".
NO_INVOCATION = "0"
NO_REQUEST = 0

GIVEN = dict(os.environ)


class Invocation:
    """One request on its way through the function."""

    __slots__ = ("context", "error")

    def __init__(self, head):
        internal = head.internal
        self.context = {
            "invocationId": internal.get("invocation-id", NO_INVOCATION),
            "requestId": int(internal.get("request-id", NO_REQUEST)),
        }
        self.error = None


class Instance:
    def __init__(self, http_fd, control_fd):
        self._control = Control(control_fd)
        self._listener = Listener(http_fd)
        self._phase = "waiting"
        self._order = None
        self._in_flight = []

    def run(self):
        """Never returns."""
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)
        self._control.listen(self._on_frame, self._on_garbage)
        self._control.send("server-started", {"initDuration": age_ms(), "runtime": sys.version.split()[0]})
        first = self._wait_for_go()
        try:
            self._become(first)
        except SystemExit as leaving:
            self._leave(leaving)
        except KeyboardInterrupt:
            os._exit(130)

    def begin(self, head):
        invocation = Invocation(head)
        self._in_flight.append(invocation)
        return invocation

    def note_failure(self, invocation, error):
        """The function raised: told in full to its author only."""
        report.tell(report.describe(error))
        invocation.error = {"kind": "threw", "message": report.first_line(error)}

    def end(self, invocation):
        """From now on the host may freeze the process at any moment."""
        report.flush()
        self._in_flight.remove(invocation)
        payload = {"context": invocation.context}
        if invocation.error is not None:
            payload["error"] = invocation.error
        self._control.send("end", payload)

    def _on_frame(self, frame):
        """In the control channel's thread."""
        if frame["type"] == "go":
            if self._order is not None:
                raise ValueError("a second go")
            payload = frame.get("payload")
            if not isinstance(payload, dict) or not all(isinstance(payload.get(key), str) for key in ("entry", "root")):
                raise ValueError("a go without entry and root")
            if not isinstance(payload.setdefault("env", {}), dict):
                raise ValueError("a go whose env is no object")
            self._order = payload
            self._listener.wake()
        elif frame["type"] == "status":
            self._control.send("status", self._status())

    def _status(self):
        context = {"invocationId": None, "requestId": None}
        in_flight = self._in_flight[:1]
        if in_flight:
            context = in_flight[0].context
        is_busy = bool(in_flight) or self._phase == "loading"
        return {"state": "waiting" if self._phase == "waiting" else "busy" if is_busy else "idle", **context}

    def _on_garbage(self, reason):
        report.tell(f"dockless: the host broke the control protocol: {reason}")
        os._exit(1)

    def _wait_for_go(self):
        """Rehearses when asked. Gives the request that came before its function, if one did."""
        while self._order is None:
            found = self._listener.next()
            if found is None:
                continue
            connection, head = found
            if head.internal.get("warmup") == "1":
                from .rehearsal import rehearse

                rehearse()
                try:
                    exchange = Exchange(connection, head)
                    exchange.answer.head(200, None, [(b"content-type", b"text/plain")])
                    exchange.write(exchange.answer.whole(b""))
                except Gone:
                    self._listener.drop(connection)
                continue
            while self._order is None:
                self._listener.next()
            return found
        return None

    def _become(self, first):
        self._phase = "loading"
        began = time.perf_counter()
        order = self._order
        replace_environment(order["env"])
        try:
            os.chdir(order["root"])
            module = load(order["entry"], order["root"])
            shape, found = choose(module, order["entry"])
            if shape == "asgi":
                return self._run_asgi(found, first, began)
            serve = server_of(shape, found)
        except Exception as error:
            self._fail_to_load(error, first)
        self._loaded(began, shape)
        while True:
            found = first or self._listener.next()
            first = None
            if found is not None:
                self._serve(serve, *found)

    def _loaded(self, began, shape):
        report.flush()
        self._phase = "ready"
        self._control.send("handler-loaded", {"loadDuration": (time.perf_counter() - began) * 1000, "shape": shape})

    def _serve(self, serve, connection, head):
        invocation = self.begin(head)
        exchange = Exchange(connection, head)
        keep = True
        try:
            serve(exchange)
            keep = not exchange.answer.broken
        except Gone:
            keep = False
        except Exception as error:
            self.note_failure(invocation, error)
            try:
                keep = exchange.fail()
            except Gone:
                keep = False
        if not keep:
            self._listener.drop(connection)
        self.end(invocation)

    def _run_asgi(self, application, first, began):
        import asyncio

        from .asgi import Server

        async def run():
            server = Server(application, self._listener, self)
            try:
                await server.start()
            except Exception as error:
                return error
            self._loaded(began, "asgi")
            await server.serve([first] if first else ())

        self._fail_to_load(asyncio.run(run()), first)

    def _fail_to_load(self, error, first):
        """Tells why, answers whoever waits, and ends the process."""
        if isinstance(error, LoadError):
            cause = error.__cause__
            hint = str(error).partition("\n")[2]
            report.tell(str(error) if cause is None else f"{report.describe(cause)}{hint}")
        else:
            report.tell(report.describe(error))
        self._phase = "failed"
        message = report.clip(str(error)) if isinstance(error, LoadError) else report.first_line(error)
        # The request that was sent together with `go` may not have arrived yet, and has an answer coming, too.
        found = first
        limit = time.monotonic() + FAILED_GRACE_MS / 1000
        while found is None and (left := limit - time.monotonic()) > 0:
            found = self._listener.next(left * 1000)
        if found is not None:
            connection, head = found
            invocation = self.begin(head)
            invocation.error = {"kind": "uncaught", "message": report.first_line(error)}
            try:
                Exchange(connection, head).fail()
            except Gone:
                pass
            self.end(invocation)
        self._control.send("unrecoverable-error", {"exitCode": 1, "message": message})
        report.flush()
        os._exit(1)

    def _leave(self, leaving):
        """`sys.exit()`: what is registered for the end runs, and no thread is waited for."""
        import atexit

        code = leaving.code
        if code is not None and not isinstance(code, int):
            report.tell(str(code))
            code = 1
        atexit._run_exitfuncs()
        report.flush()
        os._exit((code or 0) & 0xFF)


def age_ms():
    """Since this process started, to the tick of its clock (proc_pid_stat(5), starttime)."""
    with open("/proc/self/stat", "rb") as stat:
        started = int(stat.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return max(0, (time.clock_gettime(time.CLOCK_BOOTTIME) - started) * 1000)


def server_of(shape, found):
    """What runs one exchange through a handler that blocks."""
    if shape == "handler":
        from . import handler

        kind = handler.quiet(found)
        return lambda exchange: handler.serve(kind, exchange)
    from . import wsgi

    return lambda exchange: wsgi.serve(found, exchange)


def replace_environment(added):
    """Makes the environment what the process was given and this, whatever the launcher's libraries made of it."""
    wanted = {**GIVEN, **{str(name): str(value) for name, value in added.items()}}
    for name in list(os.environ):
        if name not in wanted:
            del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
    time.tzset()
