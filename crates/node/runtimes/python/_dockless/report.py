"""What went wrong, told twice: in full to the user (standard error, hence the function's log), in one line to the host."""

import os
import sys

# Longest text put into a frame, in characters. JSON may turn each into six bytes, and a frame may hold 64 KiB.
MESSAGE_LIMIT = 8192

# Frames of ours and of the import system say nothing to the author of a function.
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_HIDDEN = (_OURS, "<frozen importlib", "<frozen runpy")


class Fault(Exception):
    """A mistake that we found in the function, in words for its author: no traceback says more."""


def tell(text):
    """Writes to the log without going through `sys.stderr`, which user code may have replaced."""
    flush()
    data = (text.rstrip("\n") + "\n").encode("utf-8", "backslashreplace")
    try:
        while data:
            data = data[os.write(2, data) :]
    except OSError:
        pass  # nobody reads our log any more: nobody to tell either


def describe(error):
    """The traceback as Python prints it, without our own frames."""
    import traceback

    if isinstance(error, Fault):
        return str(error)
    try:
        told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        seen = set()
        waiting = [told]
        while waiting:
            one = waiting.pop()
            if one is None or id(one) in seen:
                continue
            seen.add(id(one))
            kept = [frame for frame in one.stack if not frame.filename.startswith(_HIDDEN)]
            one.stack[:] = kept
            waiting += [one.__cause__, one.__context__]
        return "".join(told.format())
    except Exception:
        return "an exception that cannot be printed was raised"


def first_line(error):
    try:
        text = str(error).split("\n", 1)[0]
        if isinstance(error, Fault):
            return clip(text)
        name = type(error).__name__
        return clip(f"{name}: {text}" if text else name)
    except Exception:
        return "an exception that cannot be printed was raised"


def clip(text):
    return text if len(text) <= MESSAGE_LIMIT else text[:MESSAGE_LIMIT] + "…"


def flush():
    """Gets out what `print` has kept: a process may be frozen for good in the middle of a line."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed or replaced by user code
