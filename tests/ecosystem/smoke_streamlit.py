"""streamlit takes uvloop if it finds it: a page, asked for as a browser would, says which loop serves it."""

import os
import tempfile
from pathlib import Path

import stage
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

PAGE = """
import streamlit
loop = streamlit.runtime.get_instance()._get_async_objs().eventloop
streamlit.text("loop: " + type(loop).__module__.partition(".")[0])
"""


def main():
    port = stage.free_port()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "page.py")
        page.write_text(PAGE)
        options = {
            "server.headless": "true",
            "server.address": stage.LOCALHOST,
            "server.port": port,
            "browser.gatherUsageStats": "false",
        }
        words = [f"--{name}={value}" for name, value in options.items()]
        command = stage.program_of_uvloop("-m", "streamlit", "run", str(page), *words)
        with stage.running(command, port, env={**os.environ, "HOME": folder}):
            assert f"loop: {stage.LOOP}" in texts(port)


def texts(port):
    """The texts on the page."""
    seen = []
    with connect(f"ws://{stage.LOCALHOST}:{port}/_stcore/stream", subprotocols=["streamlit"]) as socket:
        request = BackMsg()
        request.rerun_script.query_string = ""
        socket.send(request.SerializeToString())
        while True:
            message = ForwardMsg.FromString(socket.recv(stage.PATIENCE))
            if message.WhichOneof("type") == "delta":
                seen.append(message.delta.new_element.text.body)
            if message.WhichOneof("type") == "script_finished":
                return seen


main()
