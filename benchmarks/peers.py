"""The rivals: an environment of their own, and everything else that has to be built before a run."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
BUILT = ROOT / ".cache" / "bench"

FLOOR = "floor"
PACKAGES = ["uvloop==0.23.0", "rloop", "aiofastnet"]
# These two exist for the newest Python only.
PACKAGES_3_14 = ["zuvloop", "rsloop"]
HTTP_PACKAGES = ["uvicorn", "httptools", "h11", "aiohttp"]
CHART_PACKAGES = ["matplotlib"]

VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
VERSIONS = """
import importlib.metadata as m, json, platform, ssl, sys
def version(name):
    try: return m.version(name)
    except m.PackageNotFoundError: return None
names = sys.argv[1:]
print(json.dumps({"python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION}
                 | {name: version(name) for name in names}))
"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """What a run stands on: the interpreter with the peers, our package, the load generator, the floor."""

    python: str
    velodrome_path: str
    load: str
    floor: str
    certificate: pathlib.Path

    def environment(self, loop: str) -> dict[str, str]:
        return {"PYTHONPATH": self.velodrome_path} if loop == "velodrome" else {}

    @property
    def trusted(self) -> pathlib.Path:
        return self.certificate.with_suffix(".der")

    def versions(self) -> dict:
        names = [package.partition("==")[0] for package in [*peer_packages(self.python), *HTTP_PACKAGES]]
        said = output(self.python, "-c", VERSIONS, *names)
        return {name: version for name, version in json.loads(said).items() if version}


def output(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def version_of(python: str) -> tuple[int, ...]:
    return tuple(map(int, output(python, "-c", VERSION).split(".")))


def peer_packages(python: str) -> list[str]:
    return PACKAGES + (PACKAGES_3_14 if version_of(python) >= (3, 14) else [])


def loops(python: str) -> list[str]:
    return ["asyncio", *(package.partition("==")[0] for package in peer_packages(python)), "velodrome"]


def environment(base: str) -> str:
    """The interpreter of `.venv/bench-X.Y`, made and filled if it is not there."""
    folder = ROOT / ".venv" / ("bench-" + ".".join(map(str, version_of(base))))
    python = folder / "bin" / "python"
    packages = [*peer_packages(base), *HTTP_PACKAGES, *CHART_PACKAGES]
    wanted = folder / "peers.txt"
    if not wanted.exists() or wanted.read_text().split() != packages:
        subprocess.run([base, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        wanted.write_text("\n".join(packages))
    return str(python)


def load_generator() -> str:
    """Built by cargo as a member of the workspace."""
    subprocess.run(["cargo", "build", "--release", "--quiet", "-p", "velodrome-load"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return str(target / "release" / "velodrome-load")


def floor() -> str:
    BUILT.mkdir(parents=True, exist_ok=True)
    program = BUILT / "floor"
    subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / "servers" / "floor.c")], check=True)
    return str(program)


def certificate() -> pathlib.Path:
    """Key and certificate for `localhost` in one PEM, and the certificate alone in DER beside it."""
    pem = BUILT / "localhost.pem"
    if not pem.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        extensions = ["subjectAltName=DNS:localhost", "basicConstraints=critical,CA:FALSE"]
        request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        request += ["-days", "3650", "-subj", "/CN=localhost", "-keyout", str(pem), "-out", f"{pem}.crt"]
        for extension in extensions:
            request += ["-addext", extension]
        openssl(*request)
        openssl("x509", "-in", f"{pem}.crt", "-outform", "der", "-out", str(pem.with_suffix(".der")))
        with pem.open("a") as whole:
            whole.write(pathlib.Path(f"{pem}.crt").read_text())
    return pem


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def missing_tools(tools: list[str]) -> list[str]:
    return [tool for tool in tools if not shutil.which(tool)]


def prepare(base: str | None, velodrome_path: str, load: str | None) -> Bench:
    return Bench(
        python=environment(base or sys.executable),
        velodrome_path=velodrome_path,
        load=load or load_generator(),
        floor=floor(),
        certificate=certificate(),
    )
