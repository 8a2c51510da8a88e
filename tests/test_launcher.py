"""``python -m velodrome``: a program runs as under ``python``, except for its loop."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import zipfile

import pytest
from conftest import DEADLINE, TESTS, run_python
from kinds import KINDS

ROOT = TESTS.parent
SEED = ROOT.parent / "shared" / "seed"

pytestmark = pytest.mark.skipif("velodrome" not in KINDS, reason="velodrome is not built")


@pytest.fixture
def here(tmp_path):
    """A folder to run programs in."""
    return tmp_path


@pytest.fixture
def write(here):
    def write(source, name="program.py"):
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return path

    return write


@pytest.fixture
def ours(here):
    """Run something with the launcher."""

    def ours(*arguments, options=(), cwd=None, **environment):
        return run_python(*options, "-m", "velodrome", *arguments, cwd=cwd or here, **environment)

    return ours


@pytest.fixture
def both(here, ours):
    """Run something with python and with the launcher; they must not be told apart."""

    def both(*arguments, options=(), cwd=None, **environment):
        expected = run_python(*options, *arguments, cwd=cwd or here, **environment)
        done = ours(*arguments, options=options, cwd=cwd, **environment)
        assert done.stdout == expected.stdout
        assert without_runpy(done.stderr) == without_runpy(expected.stderr)
        assert done.returncode == expected.returncode
        return done

    return both


def without_runpy(text):
    """The interpreter shows its own frames for -m; the launcher hides them with its own."""
    text = re.sub(r'[ |]*  File "<frozen runpy>", line \d+, in \w+\n', "", text)
    # How deep a recursion went depends on where it began.
    return re.sub(r"Previous line repeated \d+ more times", "Previous line repeated", text)


RUNNING = """
    import asyncio
    async def main():
        print(type(asyncio.get_running_loop()).__module__.partition(".")[0])
    """


class TestTheLoop:
    """Whatever asks asyncio for a loop gets ours."""

    @pytest.mark.parametrize(
        "how",
        [
            "asyncio.run(main())",
            "with asyncio.Runner() as runner: runner.run(main())",
            "loop = asyncio.new_event_loop(); loop.run_until_complete(main()); loop.close()",
            "loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop);"
            "asyncio.get_event_loop().run_until_complete(main()); loop.close()",
            "import threading; t = threading.Thread(target=lambda: asyncio.run(main())); t.start(); t.join()",
        ],
    )
    def test_it_is_ours(self, ours, write, how):
        program = write(textwrap.dedent(RUNNING) + how)
        done = ours(str(program), options=("-W", "error"))
        assert done.stdout == "velodrome\n", done.stderr

    def test_with_python_it_is_not(self, write):
        program = write(textwrap.dedent(RUNNING) + "asyncio.run(main())")
        assert run_python(str(program)).stdout == "asyncio\n"

    def test_asyncio_is_not_patched(self, ours, write):
        if sys.version_info >= (3, 16):
            pytest.skip("there is no other way any more")
        program = write("""
            import asyncio, asyncio.events
            functions = asyncio.run, asyncio.new_event_loop, asyncio.events.new_event_loop, asyncio.Runner
            print({f.__module__.partition(".")[0] for f in functions}, asyncio.SelectorEventLoop.__module__)
        """)
        assert ours(str(program)).stdout == "{'asyncio'} asyncio.unix_events\n"

    def test_a_loop_that_the_program_chooses_itself(self, ours, write):
        program = write(
            textwrap.dedent(RUNNING)
            + "with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as r: r.run(main())"
        )
        assert ours(str(program)).stdout == "asyncio\n"


class TestAsUvloop:
    """``--as-uvloop``: what names uvloop in its own code gets our loop."""

    @pytest.fixture
    def decoy(self, here, write):
        """The real uvloop, as far as anyone who must not import it can tell: a folder for PYTHONPATH."""
        write("raise SystemExit('the installed uvloop was imported')", "installed/uvloop/__init__.py")
        paths = [str(here / "installed"), *filter(None, [os.environ.get("PYTHONPATH")])]
        return os.pathsep.join(paths)

    @pytest.mark.parametrize(
        "how",
        [
            "uvloop.run(main())",
            "uvloop.run(main(), debug=True, loop_factory=uvloop.Loop)",
            "with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner: runner.run(main())",
            "uvloop.install(); asyncio.run(main())",
            "loop = uvloop.Loop(); loop.run_until_complete(main()); loop.close()",
            "import uvloop.loop; loop = uvloop.loop.Loop(); loop.run_until_complete(main()); loop.close()",
            "asyncio.run(main())",
        ],
    )
    def test_its_loop_is_ours(self, ours, write, decoy, how):
        program = write("import uvloop\n" + textwrap.dedent(RUNNING) + how)
        done = ours("--as-uvloop", str(program), options=("-W", "error"), PYTHONPATH=decoy)
        assert done.stdout == "velodrome\n", done.stderr

    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="policies are deprecated")
    def test_its_policy(self, ours, write, decoy):
        how = "asyncio.set_event_loop_policy(uvloop.EventLoopPolicy()); asyncio.run(main())"
        program = write("import uvloop\n" + textwrap.dedent(RUNNING) + how)
        done = ours("--as-uvloop", str(program), options=("-W", "error"), PYTHONPATH=decoy)
        assert done.stdout == "velodrome\n", done.stderr

    def test_without_the_option_it_is_the_installed_one(self, ours, decoy):
        done = ours("-c", "import uvloop", PYTHONPATH=decoy)
        assert done.stderr == "the installed uvloop was imported\n"

    @pytest.mark.parametrize(
        "program", [("-m", "program", "argument"), ("-mprogram", "argument"), ("program.py", "argument")]
    )
    @pytest.mark.parametrize("options", [(), ("-P",)])
    def test_with_every_way_to_name_a_program(self, ours, write, decoy, here, program, options):
        write("import sys, uvloop; print(sys.argv[1], uvloop.Loop.__module__)")
        paths = os.pathsep.join([decoy, str(here)])  # -P takes the current directory off the path
        done = ours("--as-uvloop", *program, options=options, PYTHONPATH=paths)
        assert done.stdout == "argument velodrome._loop\n", done.stderr

    def test_with_code(self, ours, decoy):
        done = ours("--as-uvloop", "-cimport uvloop; print(uvloop.Loop)", PYTHONPATH=decoy)
        assert done.stdout == "<class 'velodrome._loop.EventLoop'>\n", done.stderr

    def test_a_program_that_rearranges_its_path(self, ours, write, here, decoy):
        program = write(f"""
            import sys
            sys.path.insert(0, {str(here / "installed")!r})
            import uvloop
            print(uvloop.Loop.__module__)
        """)
        assert ours("--as-uvloop", str(program)).stdout == "velodrome._loop\n"

    def test_how_programs_look_whether_it_is_there(self, ours, decoy):
        done = ours(
            "--as-uvloop",
            "-c",
            "import importlib.util as u, uvloop;"
            "print(u.find_spec('uvloop').origin == uvloop.__file__,"
            "tuple(map(int, uvloop.__version__.split('.'))) >= (0, 22, 0), hasattr(uvloop, 'nothing'),"
            "isinstance(uvloop.new_event_loop(), uvloop.Loop))",
            PYTHONPATH=decoy,
        )
        assert done.stdout == "True True False True\n", done.stderr

    CHILD = "import uvloop; print(uvloop.Loop.__module__, flush=True)"

    def test_child_processes(self, ours, write, decoy):
        """A child, and a child's child: somewhere else, with the path it inherits."""
        program = write(f"""
            import subprocess, sys
            child = "import subprocess, sys;" + {self.CHILD!r} + "; subprocess.run(sys.argv[1:], check=True)"
            command = [sys.executable, "-c", child, sys.executable, "-c", {self.CHILD!r}]
            subprocess.run(command, cwd="/", check=True)
        """)
        done = ours("--as-uvloop", str(program), PYTHONPATH=decoy)
        assert done.stdout == "velodrome._loop\n" * 2, done.stderr

    @pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
    def test_multiprocessing(self, ours, write, decoy, method):
        program = write(f"""
            import multiprocessing
            def work():
                {self.CHILD}
            if __name__ == "__main__":
                process = multiprocessing.get_context({method!r}).Process(target=work)
                process.start()
                process.join()
        """)
        done = ours("--as-uvloop", str(program), PYTHONPATH=decoy)
        assert done.stdout == "velodrome._loop\n", done.stderr


class TestMain:
    """The module __main__ and the rest of what a program sees of its start."""

    SHOW = """
        import os, re, sys
        import __main__
        assert __main__.__dict__ is globals() and sys.modules["__main__"] is __main__
        for name in sorted(name for name in globals() if name[:2] == "__"):
            value = globals()[name]
            print(name, re.sub(" at 0x[0-9a-f]+", "", repr(value)))
        print(sys.argv, sys.path[0], sys.flags, os.getcwd(), __debug__)
        """

    @pytest.fixture
    def program(self, write):
        return write(self.SHOW)

    def test_a_script(self, both, program):
        done = both("program.py", "-m", "--version", "-c", "--", "x y")
        assert "'--version'" in done.stdout

    def test_paths_of_a_script(self, both, program, here):
        (here / "folder").mkdir()
        (here / "link.py").symlink_to(program)
        for path in (str(program), "./program.py", "folder/../program.py", "link.py", "folder/../link.py"):
            both(path)
        both("../program.py", cwd=here / "folder")

    def test_a_module(self, both, program, write):
        write(self.SHOW, "package/__main__.py")
        write(self.SHOW, "package/inside.py")
        write("", "package/__init__.py")
        for name in ("program", "package", "package.inside"):
            both("-m", name, "-m", "-x")

    def test_code(self, both):
        code = textwrap.dedent(self.SHOW)
        both("-c", code, "-m", "-x")
        both("-c" + code)

    def test_a_folder_and_a_zip_file(self, both, write, here):
        write(self.SHOW, "folder/__main__.py")
        with zipfile.ZipFile(here / "program.zip", "w") as archive:
            archive.write(here / "folder/__main__.py", "__main__.py")
        both("folder", "-x")
        both("program.zip", "-x")

    def test_compiled(self, both, program, here):
        import py_compile

        py_compile.compile(str(program), str(here / "compiled.pyc"))
        both("compiled.pyc")

    @pytest.mark.parametrize("option", ["-P", "-O", "-B"])
    def test_options_of_the_interpreter(self, both, program, option):
        # With -P the launcher has to be found some other way than by the current folder: it is installed.
        both("program.py", options=(option,))

    def test_modules_beside_a_script(self, both, write, here):
        write("VALUE = 42", "beside.py")
        write("import beside; print(beside.VALUE)")
        (here / "folder").mkdir()
        both("../program.py", cwd=here / "folder")

    def test_encoding_and_annotations(self, both, here):
        (here / "program.py").write_bytes(
            "# coding: latin-1\nx: int = 1\nprint('é'.encode(), __annotations__)\n".encode("latin-1")
        )
        both("program.py")

    def test_future_statements_do_not_leak_in(self, both, write):
        write("""
            def f(x: int): pass
            print(f.__annotations__)
        """)
        both("program.py")

    def test_pickling(self, both, write):
        write("""
            import pickle
            class Thing: pass
            print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)
        """)
        assert both("program.py").stdout == "True\n"
        both("-m", "program")

    @pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
    def test_multiprocessing(self, both, write, method):
        write(f"""
            import multiprocessing
            class Thing:
                def __init__(self, value): self.value = value
            def double(thing):
                return Thing(thing.value * 2)
            if __name__ == "__main__":
                with multiprocessing.get_context({method!r}).Pool(1) as pool:
                    print(pool.apply(double, [Thing(21)]).value)
        """)
        assert both("program.py", options=("-W", "ignore")).stdout == "42\n"
        both("-m", "program", options=("-W", "ignore"))

    def test_the_module_is_there_to_the_end(self, both, write):
        write("""
            import atexit, sys, threading
            NAME = "still here"
            atexit.register(lambda: print(sys.modules["__main__"].NAME, NAME))
            gate = threading.Event()
            threading.Thread(target=lambda: (gate.wait(), print(sys.modules["__main__"].NAME))).start()
            threading.Timer(0.05, gate.set).start()
        """)
        assert both("program.py").stdout == "still here\nstill here still here\n"
        both("-m", "program")


class TestEndings:
    """Exit status and what is printed."""

    @pytest.mark.parametrize(
        "ending",
        [
            "pass",
            "raise SystemExit",
            "raise SystemExit(3)",
            "raise SystemExit('a message')",
            "import sys; sys.exit(True)",
            "import os; os._exit(5)",
            "raise LookupError('told')",
            "1 / 0",
            "raise KeyboardInterrupt",
            "import signal; signal.raise_signal(signal.SIGINT)",
            "import os; os.abort()",
            "import nothing_of_this_name",
            "def f(): f()\nf()",
            "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
            "try: 1 / 0\nexcept Exception as e: raise LookupError from e",
            "import asyncio, signal\n"
            "async def main():\n signal.raise_signal(signal.SIGINT)\n await asyncio.sleep(9)\n"
            "try: asyncio.run(main())\nexcept KeyboardInterrupt: print('interrupted')",
        ],
    )
    def test_as_python(self, both, write, here, ending):
        (here / "program.py").write_text(f"print('begun', flush=True)\n{ending}\n")
        both("program.py")
        both("-m", "program")

    def test_death_by_ctrl_c(self, ours, write):
        write("import signal; signal.raise_signal(signal.SIGINT)")
        done = ours("program.py")
        assert done.returncode == -signal.SIGINT
        assert done.stderr.rstrip().endswith("KeyboardInterrupt")

    def test_a_traceback_begins_in_the_program(self, ours, write):
        program = write("""
            import asyncio
            async def main():
                raise LookupError("told")
            asyncio.run(main())
        """)
        for arguments in (("program.py",), ("-m", "program")):
            done = ours(*arguments)
            assert done.returncode == 1
            lines = done.stderr.splitlines()
            assert lines[0] == "Traceback (most recent call last):"
            assert lines[1] == f'  File "{program}", line 5, in <module>'
            assert "velodrome" not in re.sub(r"/velodrome/_loop\.py", "", lines[1])
            assert lines[-1] == "LookupError: told"
            assert "_launcher" not in done.stderr and "runpy" not in done.stderr

    @pytest.mark.parametrize("source", ["x = (", "  indented", "def f():\nreturn"])
    def test_a_program_that_does_not_compile(self, both, here, source):
        (here / "program.py").write_text(source)
        both("program.py")

    @pytest.mark.parametrize("source", ["\0", "# coding: nonsense"])
    def test_a_program_that_cannot_be_decoded(self, ours, here, source):
        """The interpreter's reader of files has its own words for these."""
        (here / "program.py").write_text(source)
        done = ours("program.py")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith("SyntaxError: ")
        assert "Traceback" not in done.stderr

    def test_a_hook_of_the_program_sees_its_own_frames(self, both, write):
        write("""
            import sys, traceback
            def hook(kind, error, tb):
                print(kind, error, error.__traceback__ is tb)
                print([frame.name for frame in traceback.extract_tb(tb)])
                print(sys.last_type, sys.last_value, sys.last_traceback is tb)
            sys.excepthook = hook
            def f(): raise LookupError("told")
            f()
        """)
        both("program.py")

    def test_warnings_name_the_program(self, both, write):
        write("""
            import warnings
            warnings.warn("a warning")
            warnings.warn("deprecated", DeprecationWarning)
            def f(): warnings.warn("two up", stacklevel=2)
            f()
        """)
        done = both("program.py")
        assert "DeprecationWarning: deprecated" in done.stderr
        both("program.py", options=("-W", "error"))

    def test_interactive_afterwards(self, here, write):
        write("x = 42\n1 / 0")
        done = run_python("-i", "-m", "velodrome", "program.py", cwd=here, stdin="print(x, __name__)\n")
        assert "42 __main__" in done.stdout


class TestUsage:
    """The launcher's own options."""

    def test_version(self, ours):
        done = ours("--version")
        assert re.fullmatch(r"velodrome \S+\n", done.stdout)
        assert (done.returncode, done.stderr) == (0, "")

    def test_info(self, ours):
        done = ours("info")
        assert done.returncode == 0, done.stderr
        facts = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
        assert {"velodrome", "python", "kernel", "driver", "rustc"} <= set(facts)
        assert facts["python"].startswith(f"CPython {sys.version.split()[0]}")

    @pytest.mark.parametrize("option", ["-h", "--help"])
    def test_help(self, ours, option):
        done = ours(option)
        assert done.returncode == 0
        for word in ("SCRIPT", "-m MODULE", "-c CODE", "info", "--version", "--as-uvloop"):
            assert word in done.stdout

    @pytest.mark.parametrize(
        "arguments", [(), ("-m",), ("-c",), ("--as-uvloop",), ("--nonsense",), ("-x", "program.py")]
    )
    def test_bad_usage(self, ours, arguments):
        done = ours(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: ")
        assert "error: " in done.stderr
        assert done.stdout == ""

    def test_a_script_that_is_not_there(self, ours, here):
        done = ours("missing.py")
        assert done.returncode == 2
        message = f"can't open file '{here}/missing.py': [Errno 2] No such file or directory\n"
        assert done.stderr == f"python -m velodrome: {message}"

    def test_a_module_that_is_not_there(self, both):
        both("-m", "missing")

    def test_a_script_called_info(self, ours, write):
        write("print('the script')", "info")
        assert ours("./info").stdout == "the script\n"


class TestExamples:
    """Programs as people write them."""

    PROGRAMS = [
        ("coroutine.py", ROOT / "examples"),
        ("coroutine.py", SEED),
        ("echo_server.py", ROOT / "examples"),
        ("echo_server.py", SEED),
    ]

    def path(self, name, folder):
        if not (folder / name).exists():
            pytest.skip(f"{folder / name} is not here")
        return str(folder / name)

    @pytest.mark.parametrize(("name", "folder"), PROGRAMS[:2])
    def test_coroutine(self, ours, name, folder):
        done = ours(self.path(name, folder))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1].endswith("finished")

    @pytest.mark.parametrize(("name", "folder"), PROGRAMS[2:])
    def test_echo_server(self, name, folder):
        server = subprocess.Popen(
            # Any port, where the program lets itself be told: its own may be taken.
            [sys.executable, "-u", "-m", "velodrome", self.path(name, folder), "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with server:
            try:
                address = re.search(r"\('([\d.]+)', (\d+)\)", server.stdout.readline())
                clients = [
                    socket.create_connection((address[1], int(address[2])), DEADLINE) for _ in range(3)
                ]
                for number, client in enumerate(clients):
                    client.sendall(b"client %d" % number)
                for number, client in enumerate(clients):
                    with client:
                        assert client.recv(100).endswith(b"client %d" % number)
            finally:
                server.send_signal(signal.SIGINT)
                _, errors = server.communicate(timeout=DEADLINE)
        assert server.returncode in (0, -signal.SIGINT)
        assert "_launcher" not in errors

    def test_the_console_of_asyncio(self, here):
        question = "import asyncio; type(asyncio.get_running_loop()).__module__\n"
        done = run_python("-m", "velodrome", "-m", "asyncio", cwd=here, stdin=question)
        assert "velodrome" in done.stdout


class TestPackage:
    """The names of the package."""

    def test_run(self):
        import velodrome

        async def main():
            return asyncio.get_running_loop()

        loop = velodrome.run(main())
        assert type(loop) is velodrome.EventLoop
        assert loop.is_closed()

    def test_debug_and_factory(self):
        import velodrome

        async def main():
            return asyncio.get_running_loop()

        class Mine(velodrome.EventLoop):
            pass

        loop = velodrome.run(main(), debug=True, loop_factory=Mine)
        assert type(loop) is Mine
        assert loop.get_debug()

    @pytest.mark.parametrize("main", [None, 1, "text", print])
    def test_what_cannot_be_run(self, main):
        import velodrome

        with pytest.raises(Exception) as expected:
            asyncio.run(main)
        with pytest.raises(expected.type):
            velodrome.run(main)

    def test_not_while_running(self):
        import velodrome

        async def inner():
            pass

        async def main():
            coroutine = inner()
            with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
                velodrome.run(coroutine)
            coroutine.close()

        velodrome.run(main())

    def test_new_event_loop(self):
        import velodrome

        loop = velodrome.new_event_loop()
        assert type(loop) is velodrome.EventLoop
        loop.close()

    INSTALL = """
        import asyncio, velodrome
        velodrome.install()
        async def main(): return type(asyncio.get_running_loop())
        assert asyncio.run(main()) is velodrome.EventLoop
        with asyncio.Runner() as runner: assert runner.run(main()) is velodrome.EventLoop
        """

    def test_install(self, script):
        script(self.INSTALL, options=("-W", "error"))

    @pytest.mark.skipif(sys.version_info >= (3, 16), reason="there are no policies any more")
    def test_policy(self, script):
        script("""
            import asyncio, velodrome
            assert issubclass(velodrome.EventLoopPolicy, asyncio.AbstractEventLoopPolicy)
            policy = velodrome.EventLoopPolicy()
            loop = policy.new_event_loop()
            assert type(loop) is velodrome.EventLoop
            policy.set_event_loop(loop)
            assert policy.get_event_loop() is loop
            loop.close()
        """)

    def test_importing_is_cheap(self, script):
        """Nothing but asyncio and ourselves; the policy only for those who ask."""
        script("""
            import sys
            import __future__, asyncio
            before = set(sys.modules)
            import velodrome
            new = {name for name in set(sys.modules) - before if name.partition(".")[0] != "velodrome"}
            assert not new, new
            assert not {"velodrome._policy", "velodrome._launcher"} & set(sys.modules)
            assert "EventLoopPolicy" in dir(velodrome) or sys.version_info >= (3, 16)
        """)

    def test_importing_warns_of_nothing(self, script):
        """Not even that policies are deprecated, which 3.14 says of their very names."""
        script(
            """
            import velodrome
            async def main():
                return 42
            assert velodrome.run(main()) == 42
            """,
            options=("-W", "error"),
        )

    def test_it_does_not_run_without_the_gil(self, script):
        """What -X gil=0 does to a free-threaded interpreter; others are made to believe it."""
        script("""
            import sys
            sys._is_gil_enabled = lambda: False
            try:
                import velodrome
            except ImportError as error:
                assert "GIL" in str(error)
            else:
                raise AssertionError("imported")
        """)

    def test_names(self):
        import velodrome

        for name in velodrome.__all__:
            assert getattr(velodrome, name).__doc__
        assert velodrome.__version__
        with pytest.raises(AttributeError):
            velodrome.nothing
