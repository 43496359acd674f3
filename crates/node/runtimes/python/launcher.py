"""The program inside every Python function sandbox.

           fd 3: listening unix socket, HTTP/1.1        fd 4: control channel, JSON frames
  host ───────────────────────┬──────────────────────────────────┬───────────────────────
                          server.py                          control.py
                              └──────────► instance.py ◄──────────┘
                     load.py, shapes.py, handler.py, wsgi.py, asgi.py: the function

It starts before anybody knows whose function it will run, says `server-started`, is warmed up by a request, and frozen.
Then a `go` frame names the function, and every tenth of a millisecond until its first answer counts: hence all that can
be imported or run once before is.
"""

import sys

# User code finds neither these modules by their short names nor this folder in its way.
HERE = sys.path.pop(0)
sys.path.insert(0, HERE)
from _dockless.instance import Instance  # noqa: E402

sys.path.remove(HERE)

HTTP_FD = 3
CONTROL_FD = 4

Instance(HTTP_FD, CONTROL_FD).run()
