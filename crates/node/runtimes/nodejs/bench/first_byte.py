#!/usr/bin/env python3
"""Time from `go` + request to the first byte of the answer, on a launcher that has been warmed up.

    bench/first_byte.py [--samples 40] [--warmups 1] [--node /usr/bin/node] [--stop] [FLAG...]

Each sample is a process of its own, as in production. `--stop` stops the process between the warm-up and `go` and
continues it as part of the measurement. Remaining arguments are passed to node. No Node client is involved: its own
latency would be a third of the result.
"""
import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "launcher.cjs")

HANDLERS = {
    "end": ("api/date.js", "module.exports = (req, res) => { res.end(new Date().toString()); };\n"),
    "json": ("api/date.js", "module.exports = (req, res) => { console.log('hi'); res.status(200).json({ now: Date.now(), q: req.query }); };\n"),
    "esm": ("api/date.mjs", "export default (req, res) => { res.end(new Date().toString()); };\n"),
    "web": ("api/date.mjs", "export function GET(request) { return new Response(new Date().toString()); }\n"),
    "server": ("index.js", "require('http').createServer((req, res) => res.end('x')).listen(3000);\n"),
}


def read_frame(control):
    data = b""
    while not data.endswith(b"\0"):
        data += control.recv(65536)
    return [json.loads(part) for part in data[:-1].split(b"\0")]


def request(extra):
    return (f"GET /api/date?a=1 HTTP/1.1\r\nhost: app.localhost\r\nuser-agent: bench\r\naccept: */*\r\n{extra}\r\n").encode()


def sample(args, kind):
    folder = tempfile.mkdtemp()
    entry, source = HANDLERS[kind]
    os.makedirs(os.path.join(folder, "task", "api"))
    with open(os.path.join(folder, "task", entry), "w") as file:
        file.write(source)
    path = os.path.join(folder, "http.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    read, write = os.pipe()

    def place():
        for source_fd, target in ((listener.fileno(), 13), (theirs.fileno(), 14), (write, 11)):
            os.dup2(source_fd, target)
        for source_fd, target in ((11, 1), (11, 2), (13, 3), (14, 4)):
            os.dup2(source_fd, target)

    began = time.perf_counter()
    child = subprocess.Popen(
        [args.node, *args.flags, LAUNCHER], env={"PATH": "/usr/bin", "HOME": "/tmp"}, cwd="/",
        stdin=subprocess.DEVNULL, preexec_fn=place, pass_fds=(1, 2, 3, 4),
    )
    os.close(write)
    theirs.close()
    listener.close()
    read_frame(ours)
    boot = time.perf_counter() - began
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(path)
    began = time.perf_counter()
    for _ in range(args.warmups):
        client.sendall(request("x-dockless-internal-warmup: 1\r\n"))
        client.recv(65536)
    # The answer to `status` says that nothing is left to do for the warm-up.
    ours.sendall(b'{"type":"status"}\0')
    read_frame(ours)
    warmup = time.perf_counter() - began
    if args.stop:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
    rss = int(open(f"/proc/{child.pid}/statm").read().split()[1]) * 4096 / 1e6
    go = json.dumps({"type": "go", "payload": {
        "entry": entry, "root": os.path.join(folder, "task"), "helpers": True, "queryStyle": "today",
        "env": {"NODE_ENV": "production", "REGION": "dev1", "TZ": "UTC", "PATH": "/usr/bin", "HOME": "/tmp"},
    }}).encode() + b"\0"
    invocation = request("x-dockless-internal-invocation-id: abc\r\nx-dockless-internal-request-id: 1\r\n"
                         "x-dockless-internal-deadline: 1999999999999\r\n")
    began = time.perf_counter()
    ours.sendall(go)
    client.sendall(invocation)
    if args.stop:
        os.kill(child.pid, signal.SIGCONT)
    answer = client.recv(65536)
    first_byte = time.perf_counter() - began
    assert b" 200 OK" in answer, (answer, os.read(read, 65536))
    frames = []
    while not any(frame["type"] == "end" for frame in frames):
        frames += read_frame(ours)
    load = next(frame["payload"]["loadDuration"] for frame in frames if frame["type"] == "handler-loaded")
    began = time.perf_counter()
    client.sendall(invocation)
    client.recv(65536)
    second = time.perf_counter() - began
    child.kill()
    child.wait()
    os.close(read)
    ours.close()
    client.close()
    shutil.rmtree(folder)
    return boot * 1000, warmup * 1000, rss, load, first_byte * 1000, second * 1000


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--warmups", type=int, default=1)
    parser.add_argument("--node", default=shutil.which("node"))
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--kinds", default=",".join(HANDLERS))
    args, args.flags = parser.parse_known_args()
    print("handler  boot ms  warm-up ms  rss MB  load ms  first byte p50 / p95 / max ms  second ms")
    for kind in args.kinds.split(","):
        rows = list(zip(*(sample(args, kind) for _ in range(args.samples))))
        boot, warmup, rss, load, first, second = rows
        ranked = sorted(first)
        print(f"{kind:7}  {statistics.median(boot):7.1f}  {statistics.median(warmup):10.1f}  "
              f"{statistics.median(rss):6.1f}  {statistics.median(load):7.2f}  "
              f"{statistics.median(first):10.2f} / {ranked[int(len(ranked) * 0.95)]:.2f} / {ranked[-1]:.2f}"
              f"{statistics.median(second):20.2f}")


if __name__ == "__main__":
    main()
