"""granian, a server in Rust with the loop behind it, here the one that `granian_server` registers."""

import sys

import asgi_client
import stage

port = stage.free_port()
with stage.running([sys.executable, "granian_server.py", str(port)], port):
    answered = asgi_client.exercise(port)
assert len(answered) <= 2
