"""One server process: `server.py LOOP KIND`. Prints `port N` when it serves, and runs until it is killed."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import threading

from kinds import KINDS
from loops import MODULES, factory


def spin() -> None:
    while True:
        pass


def server_context(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate)
    return context


async def serve(options: argparse.Namespace) -> None:
    context = server_context(options.tls) if options.tls else None
    port = await KINDS[options.kind](context)
    print(f"port {port}", flush=True)
    if options.spin:
        threading.Thread(target=spin, daemon=True).start()
    await asyncio.get_running_loop().create_future()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loop", choices=sorted(MODULES))
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("--tls", metavar="PEM", help="serve TLS 1.3 with this certificate and key")
    parser.add_argument("--spin", action="store_true", help="a second Python thread that never rests")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with asyncio.Runner(loop_factory=factory(options.loop)) as runner:
        runner.run(serve(options))


if __name__ == "__main__":
    main()
