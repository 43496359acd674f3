import json
import time
from http.server import BaseHTTPRequestHandler


class handler(BaseHTTPRequestHandler):
    """Counts aloud: each line arrives when it is written."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for number in range(1, 4):
            self.wfile.write(json.dumps({"count": number}).encode() + b"\n")
            time.sleep(0.2)
