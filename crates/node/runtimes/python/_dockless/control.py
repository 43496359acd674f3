"""The control channel: JSON objects, each followed by one NUL byte, both ways over the stream socket on fd 4.

A thread of its own reads, so that `status` is answered while user code runs. A frame is in the kernel when `send`
returns: nothing is lost when the process is frozen or exits right after it.
"""

import json
import socket
import threading

# Largest frame the host may send, in bytes.
FRAME_LIMIT = 1024 * 1024


class Control:
    def __init__(self, fd):
        # Never closed: its number must not become free, or a file opened by the user would get it and our next frame.
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self._socket.setblocking(True)
        self._lock = threading.Lock()

    def listen(self, on_frame, on_garbage):
        """Starts reading. `on_garbage` gets the reason when the far end does not speak the protocol."""
        threading.Thread(target=self._read, args=(on_frame, on_garbage), name="dockless", daemon=True).start()

    def send(self, kind, payload):
        frame = json.dumps({"type": kind, "payload": payload}).encode() + b"\0"
        with self._lock:
            try:
                self._socket.sendall(frame)
            except OSError:
                pass  # nobody is left to read

    def _read(self, on_frame, on_garbage):
        buffer = bytearray()
        while True:
            try:
                piece = self._socket.recv(65536)
            except OSError:
                return
            # The far end may close because its process was replaced, and its successor holds a duplicate.
            if not piece:
                return
            buffer += piece
            try:
                while (end := buffer.find(0)) >= 0:
                    frame = parse(bytes(buffer[:end]))
                    del buffer[: end + 1]
                    on_frame(frame)
                if len(buffer) > FRAME_LIMIT:
                    raise ValueError(f"a frame is larger than {FRAME_LIMIT} bytes")
            except ValueError as error:
                on_garbage(str(error))
                return


def parse(data):
    frame = json.loads(data)
    if not isinstance(frame, dict) or not isinstance(frame.get("type"), str):
        raise ValueError("a frame has no type")
    return frame
