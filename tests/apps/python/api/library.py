"""What of the library has to work: modules with libraries of their own among it."""

import ctypes
import datetime
import hashlib
import json
import lzma
import os
import sqlite3
import ssl
import subprocess
import sys
import time
import zlib
import zoneinfo


def app(environ, start_response):
    database = sqlite3.connect("/tmp/test.db")
    database.execute("create table if not exists t (x)")
    database.execute("insert into t values (1)")
    told = {
        "version": list(sys.version_info[:3]),
        "sqlite": database.execute("select count(*) from t").fetchone()[0],
        "ssl": len(ssl.create_default_context().get_ca_certs()) > 0,
        "lzma": lzma.decompress(lzma.compress(b"x")).decode(),
        "zlib": zlib.crc32(b"x"),
        "sha": hashlib.sha256(b"").hexdigest()[:8],
        "zone": datetime.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")).utcoffset().seconds,
        "tz": time.tzname[0],
        "shell": subprocess.run("echo $0", shell=True, capture_output=True, text=True).stdout.strip(),
        "pid": ctypes.CDLL(None).getpid() == os.getpid(),
        "granted": [bool(ctypes.CDLL(name)) for name in ("libstdc++.so.6", "libgcc_s.so.1", "libz.so.1")],
        "uid": os.getuid(),
        "compiled": json.__cached__ is not None and os.path.exists(json.__cached__),
        "env": {name: os.environ.get(name) for name in ("HOME", "GREETING", "PYTHONHASHSEED", "NODE_ENV", "VERCEL")},
        "optimized": sys.flags.optimize,
        "writable": os.access("/var/task", os.W_OK),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]
