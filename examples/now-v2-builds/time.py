from http.server import BaseHTTPRequestHandler
from datetime import datetime, timezone


class handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-type", "text/plain")
        self.end_headers()
        self.wfile.write(datetime.now(timezone.utc).isoformat().encode())
