"""``python -m velodrome SCRIPT``: runs any asyncio program on our loop, as ``python SCRIPT`` would run it.

The program gets a ``__main__`` module of its own, with the globals the interpreter would have given it, and
stays in ``sys.modules`` for as long as the process lives: pickle, multiprocessing and exit handlers look for
it there. What the interpreter does when a program ends (status, death by SIGINT, ``sys.excepthook``) it still
does here, because exceptions leave through this module untouched; only the frames below the program are taken
out of its traceback.

``--as-uvloop`` is for programs that name uvloop in their own code: a module of that name, with our loop in
it, stands before all that is installed.
"""

from __future__ import annotations

import argparse
import builtins
import importlib
import io
import os
import pkgutil
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import BuiltinImporter, SourceFileLoader, SourcelessFileLoader
from types import CodeType, ModuleType, TracebackType

import velodrome

_PROG = "python -m velodrome"
_USAGE = f"""\
{_PROG} [-h] [--version] [--as-uvloop] SCRIPT [ARGUMENT ...]
       {_PROG} [--as-uvloop] -m MODULE [ARGUMENT ...]
       {_PROG} [--as-uvloop] -c CODE [ARGUMENT ...]
       {_PROG} info"""

# The code that is on the stack below the program: ours, and the interpreter's own for -m.
_LAUNCHING_FILES = frozenset(
    (__file__, os.path.join(os.path.dirname(__file__), "__main__.py"), runpy.run_path.__code__.co_filename)
)

# What stands in uvloop's place lies in this folder; see the module there.
_AS_UVLOOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_as_uvloop")


def main(argv: Sequence[str] | None = None) -> None:
    """Do what the command line asks for; ends as the program ends."""
    parser = _parser()
    options = parser.parse_args(_unglued(sys.argv[1:] if argv is None else argv))
    if options.version:
        print(f"velodrome {velodrome.__version__}")
        return
    if options.command == ["info"]:
        print(_report())
        return
    velodrome.install()
    if options.as_uvloop:
        _stand_in_for_uvloop()
    try:
        if options.module:
            _run_module(*options.module)
        elif options.code:
            _run_code(*options.code)
        elif options.command:
            _run_path(parser, *options.command)
        else:
            parser.error("nothing to run: give a SCRIPT, -m MODULE, -c CODE, or info")
    except SystemExit:
        raise
    except BaseException:
        _hide_launching_frames()
        raise


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROG,
        usage=_USAGE,
        description="Run an asyncio program on Velodrome's event loop, or show what the loop is made of.",
        epilog="A script that is called 'info' is run as './info'.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="show the version and exit")
    parser.add_argument(
        "--as-uvloop",
        action="store_true",
        help="give the program, and its child processes, our loop where they import uvloop",
    )
    rest = argparse.REMAINDER
    parser.add_argument("-m", dest="module", nargs=rest, help="run a library module, as python -m does")
    parser.add_argument("-c", dest="code", nargs=rest, help="run the program passed in as a string")
    parser.add_argument("command", nargs=rest, metavar="SCRIPT", help="the program's file, and its arguments")
    return parser


def _unglued(argv: Sequence[str]) -> list[str]:
    """``-mMODULE`` as ``-m MODULE``: of a glued argument argparse would not see that it ends our options."""
    ours = 0
    while ours < len(argv) and argv[ours].startswith("--"):
        ours += 1
    first = argv[ours] if ours < len(argv) else ""
    glued = first[:2] in ("-m", "-c") and len(first) > 2
    return [*argv[:ours], first[:2], first[2:], *argv[ours + 1 :]] if glued else list(argv)


def _stand_in_for_uvloop() -> None:
    """Let ``import uvloop`` mean our loop, here and in every Python that this process starts."""
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (_AS_UVLOOP, inherited)))
    # Where the interpreter would have put it: behind the program's own folder, before what is installed.
    sys.path.insert(0 if sys.flags.safe_path else 1, _AS_UVLOOP)
    # At once: a program may rearrange its path before it asks.
    importlib.import_module("uvloop")


def _run_path(parser: argparse.ArgumentParser, script: str, *arguments: str) -> None:
    path = os.path.join(os.getcwd(), script)
    sys.argv[:] = [script, *arguments]
    if pkgutil.get_importer(path) is not None:  # a directory or a zip file, with a __main__.py in it
        _replace_first_path(path)
        _new_main()
        _run_as_main("__main__", alter_argv=False)
        return
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        parser.exit(2, f"{_PROG}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}\n")
    _replace_first_path(os.path.dirname(os.path.realpath(path)))
    loader: SourceFileLoader | SourcelessFileLoader
    if path.endswith(".pyc"):
        loader = SourcelessFileLoader("__main__", path)
        code = loader.get_code("__main__")
    else:
        loader = SourceFileLoader("__main__", path)
        code = compile(source, path, "exec", dont_inherit=True)
    _execute(code, _new_main(__file__=path, __loader__=loader))


def _run_code(source: str, *arguments: str) -> None:
    sys.argv[:] = ["-c", *arguments]
    _replace_first_path("")
    code = compile(source, "<string>", "exec", dont_inherit=True)
    _execute(code, _new_main(__loader__=BuiltinImporter))


def _run_module(name: str, *arguments: str) -> None:
    sys.argv[:] = ["-m", *arguments]
    _new_main()
    _run_as_main(name)


def _new_main(**names: object) -> ModuleType:
    """Put a new ``__main__`` in the place of the one that runs us, with what the interpreter puts there."""
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, **names)
    if sys.version_info < (3, 14):
        main.__annotations__ = {}
    if sys.version_info < (3, 15) and "__file__" in names:
        main.__dict__["__cached__"] = None
    sys.modules["__main__"] = main
    return main


def _execute(code: CodeType | None, main: ModuleType) -> None:
    assert code is not None
    exec(code, main.__dict__)


def _run_as_main(name: str, *, alter_argv: bool = True) -> None:
    # The interpreter's own entry for -m, which C calls by this name. Its public sisters run the module in a
    # temporary one, so that exit handlers and threads that outlive the program would find another __main__.
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


def _replace_first_path(path: str) -> None:
    """The interpreter put the current directory first, for -m; with -P and -I it put nothing there."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _hide_launching_frames() -> None:
    """Let whoever reports the exception that is on its way out see the program's own frames only."""
    report = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        shown = traceback
        while shown is not None and shown.tb_frame.f_code.co_filename in _LAUNCHING_FILES:
            shown = shown.tb_next
        # Without a frame of the program it is either a program that does not compile, or a bug of ours.
        if shown is None and not isinstance(error, SyntaxError):
            shown = traceback
        sys.last_traceback = shown
        report(kind, error.with_traceback(shown), shown)

    sys.excepthook = excepthook


def native_facts() -> dict[str, str]:
    """What the extension module says about itself and the kernel it found."""
    from . import _core

    return dict(_core.info())


def _report() -> str:
    import platform

    facts = {
        "velodrome": velodrome.__version__,
        "python": f"{platform.python_implementation()} {platform.python_version()} ({sys.executable})",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()) or "unknown",
    }
    # Ours come first and stay; the extension adds what only it can know.
    facts = {**facts, **{key: value for key, value in native_facts().items() if key not in facts}}
    width = max(map(len, facts))
    return "\n".join(f"{key:<{width}}  {value}" for key, value in facts.items())
