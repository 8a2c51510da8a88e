#!/usr/bin/env python3
"""CPython's own test_asyncio, from the interpreter under test, on the loop of LOOPMODULE.

python run_cpython.py LOOPMODULE [--python PATH]... [--driver NAME]... [--help]
"""

import sys

import score

# Files and tests that look inside asyncio's own implementation: no other loop can pass them.
EXCLUDED_FILES = {
    "test_selector_events": "unit tests of the pure-Python selector loop over mocked selectors and sockets",
    "test_proactor_events": "unit tests of the Windows proactor loop over mocks",
    "test_windows_events": "Windows only",
    "test_windows_utils": "Windows only",
    "test_pep492": "runs on BaseEventLoop with mocked selector: no loop of the target is made",
    "test_protocols": "abstract protocol classes and mocks: no loop",
    "test_transports": "abstract transport classes and mocks: no loop",
}

_DUP = "same tests again with another selector: an alternative loop has one poller, the EPoll class is kept"
_DUPW = "same tests again with another asyncio child watcher, which another loop does not use (Threaded kept)"
_DUPT = (
    "same tests again with another C/Python Task x Future pairing (CTask_CFuture and PyTask_PyFuture kept)"
)
_SOCKMOCK = "mocks asyncio.base_events.socket: a native loop calls the OS directly"
_LOGMOCK = "mocks asyncio.base_events.logger (the stdlib's own module attribute)"
_PRIV = "uses private attributes of the stdlib loop or transport: "
_B = "test_base_events.BaseEventLoopWithSelectorTests."
EXCLUDED_TESTS = [
    # --- test_events
    ("test_events.PollEventLoopTests.*", _DUP),
    ("test_events.SelectEventLoopTests.*", _DUP),
    ("test_events.KqueueEventLoopTests.*", _DUP),
    ("test_events.AbstractEventLoopTests.*", "the abstract base class, not a loop"),
    ("test_events.TestAbstractServer.*", "the abstract base class, not a loop"),
    ("test_events.PolicyTests.*", "the stdlib's default policy itself"),
    (
        "test_events.TestPyGetEventLoop.*",
        "swaps in the pure-Python _get/_set_running_loop; a native loop uses the C ones (C twin kept)",
    ),
    ("test_events.TimerTests.*", "pure-Python TimerHandle with a mock loop"),
    (
        "test_events.EPollEventLoopTests.test_internal_fds",
        "skips itself unless the loop is a BaseSelectorEventLoop",
    ),
    ("test_events.EPollEventLoopTests.test_prompt_cancellation", _PRIV + "loop._stop_serving/_selector"),
    ("test_events.EPollEventLoopTests.test_timeout_rounding", _PRIV + "loop._run_once"),
    ("test_events.EPollEventLoopTests.test_create_server_multiple_hosts_ipv*", _SOCKMOCK),
    # --- test_base_events
    ("test_base_events.BaseEventTests.*", "helper functions of asyncio.base_events"),
    (_B + "test_getnameinfo", "mocks socket.getnameinfo"),
    (_B + "test_create_connection_multiple_errors", _SOCKMOCK),
    (_B + "test_create_connection_multiple_errors_local_addr", _SOCKMOCK),
    (_B + "test_create_connection_timeout", _SOCKMOCK),
    ("test_base_events.BaseEventLoopTests.test_create_connection_happy_eyeballs", _SOCKMOCK),
    ("test_base_events.BaseEventLoopTests.test_create_connection_happy_eyeballs_ipv4_only", _SOCKMOCK),
    (_B + "test_create_connection_ipv6_scope", _SOCKMOCK),
    (_B + "test_create_connection_ip_addr", _SOCKMOCK),
    (_B + "test_create_connection_no_inet_pton", _SOCKMOCK),
    (_B + "test_create_connection_service_name", _SOCKMOCK),
    (_B + "test_create_connection_bluetooth", _SOCKMOCK),
    (
        _B + "test_create_connection_connect_err",
        "mocks loop.sock_connect: a native loop does not connect through it",
    ),
    (
        _B + "test_create_connection_multiple",
        "mocks loop.sock_connect: a native loop does not connect through it",
    ),
    (
        _B + "test_create_datagram_endpoint_connect_err",
        "mocks loop.sock_connect: a native loop does not connect through it",
    ),
    (_B + "test_create_connection_ssl_server_hostname_default", _PRIV + "loop._make_ssl_transport"),
    (_B + "test_create_server_nosoreuseport", _SOCKMOCK),
    (_B + "test_create_server_soreuseport_only_defined", _SOCKMOCK),
    (_B + "test_create_server_cant_bind", _SOCKMOCK),
    (_B + "test_create_datagram_endpoint_no_addrinfo", _SOCKMOCK),
    (_B + "test_create_datagram_endpoint_socket_err", _SOCKMOCK),
    (_B + "test_create_datagram_endpoint_setblk_err", _SOCKMOCK),
    (_B + "test_create_datagram_endpoint_cant_bind", _SOCKMOCK),
    (_B + "test_create_datagram_endpoint_nosoreuseport", _SOCKMOCK),
    (_B + "test_create_datagram_endpoint_ip_addr", _SOCKMOCK),
    (_B + "test_create_datagram_endpoint_sock_unix", _PRIV + "transport._sock"),
    (_B + "test_accept_connection_*", _PRIV + "loop._accept_connection"),
    (_B + "test_log_slow_callbacks", _LOGMOCK + "; the uvloop suite has a black-box twin"),
    ("test_base_events.BaseLoopSockSendfileTests.*", _PRIV + "BaseSelectorEventLoop()._sock_sendfile_*"),
    # --- test_unix_events
    (
        "test_unix_events.SelectorEventLoopSignalTests.*",
        "mocks asyncio.unix_events.signal and loop._signal_handlers",
    ),
    (
        "test_unix_events.SelectorEventLoopUnixSockSendfileTests.*",
        _PRIV + "loop._sock_sendfile_native_impl/_selector",
    ),
    (
        "test_unix_events.SelectorEventLoopUnixSocketTests.test_create_unix_server_bind_error",
        "mocks asyncio.unix_events.socket",
    ),
    ("test_unix_events.*ChildWatcher*", "asyncio's child watchers, not the loop"),
    ("test_unix_events.*PipeTransportTests.*", "the stdlib's own pipe transports over a TestLoop"),
    ("test_unix_events.PolicyTests.*", "the stdlib's default policy itself"),
    # --- test_subprocess
    ("test_subprocess.SubprocessSafeWatcherTests.*", _DUPW),
    ("test_subprocess.SubprocessFastWatcherTests.*", _DUPW),
    ("test_subprocess.SubprocessMultiLoopWatcherTests.*", _DUPW),
    ("test_subprocess.SubprocessPidfdWatcherTests.*", _DUPW),
    ("test_subprocess.SubprocessTransportTests.*", "BaseSubprocessTransport with a mocked process"),
    ("test_subprocess.MultiLoopChildWatcherTests.*", "asyncio's child watchers"),
    ("test_subprocess.GenericWatcherTests.*", "asyncio's child watchers"),
    ("test_subprocess.*.test_close_kill_running", _PRIV + "transport._wait, patched Popen"),
    (
        "test_subprocess.*.test_close_dont_kill_finished",
        "patches methods of the Popen object behind the transport",
    ),
    ("test_subprocess.*.test_popen_error*", "mocks asyncio.subprocess.subprocess.Popen"),
    (
        "test_subprocess.*.test_pause_reading",
        "replaces loop.connect_read_pipe and methods on the transport instance",
    ),
    # --- test_sendfile
    ("test_sendfile.PollEventLoopTests.*", _DUP),
    ("test_sendfile.SelectEventLoopTests.*", _DUP),
    ("test_sendfile.KqueueEventLoopTests.*", _DUP),
    (
        "test_sendfile.*.test_sendfile_force_fallback",
        _PRIV + "sets loop._sendfile_native to BaseEventLoop._sendfile_native",
    ),
    ("test_sendfile.*.test_sendfile_force_unsupported_native", _PRIV + "loop._sendfile_native"),
    ("test_sendfile.*.test_sendfile_fallback_close_peer*", _PRIV + "loop._sendfile_native"),
    (
        "test_sendfile.*.test_sendfile_no_fallback_for_fallback_transport",
        _PRIV + "transport._sendfile_compatible",
    ),
    # --- the rest
    ("test_server.SelectorStartServerTests.*", _PRIV + "server._sockets, server._waiters"),
    ("test_sock_lowlevel.PollEventLoopTests.*", _DUP),
    ("test_sock_lowlevel.SelectEventLoopTests.*", _DUP),
    ("test_sock_lowlevel.KqueueEventLoopTests.*", _DUP),
    (
        "test_sslproto.SslProtoHandshakeTests.*",
        "the stdlib's SSLProtocol over a mock transport, not the loop's TLS",
    ),
    ("test_ssl.TestSSL.test_flush_before_shutdown", _PRIV + "transport._ssl_protocol"),
    (
        "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data",
        _PRIV + "transport._test__append_write_backlog",
    ),
    ("test_runners.RunTests.test_asyncio_run_debug", "mocks asyncio.coroutines._is_debug_mode"),
    ("test_futures.*.test_tb_logger_*", _LOGMOCK),
    ("test_futures.*.test_future_exception_never_retrieved*", _LOGMOCK),
    ("test_tasks.*.test_log_destroyed_pending_task", _PRIV + "loop._run_once/_ready"),
    (
        "test_tasks.CoroutineGatherTests.test_issue46672",
        "mocks BaseEventLoop.call_exception_handler on the class",
    ),
    ("test_tasks.CTask_CFuture_SubclassTests.*", _DUPT),
    ("test_tasks.CTaskSubclass_PyFuture_Tests.*", _DUPT),
    ("test_tasks.PyTask_CFutureSubclass_Tests.*", _DUPT),
    ("test_tasks.CTask_PyFuture_Tests.*", _DUPT),
    ("test_tasks.PyTask_CFuture_Tests.*", _DUPT),
    ("test_tasks.PyTask_PyFuture_SubclassTests.*", _DUPT),
]

# files whose tests exercise the loop's own methods and transports; the others
# ("tasks") run stdlib tasks, futures, locks and queues on top of the loop
LOOP_FILES = {
    "test_base_events",
    "test_buffered_proto",
    "test_events",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_server_context",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_streams",
    "test_subprocess",
    "test_threads",
    "test_unix_events",
}

if __name__ == "__main__":
    sys.exit(
        score.main(
            score.Suite(
                name="cpython",
                describe=__doc__,
                find_files=(
                    "import os, test.test_asyncio as t; "
                    "print(*(n[:-3] for n in os.listdir(os.path.dirname(t.__file__)) "
                    "if n.startswith('test_') and n.endswith('.py')))"
                ),
                no_files="it lacks CPython's test package (pyenv's have it; Debian: libpython3-testsuite)",
                references=["cpython-{}.json"],
                excluded_files=EXCLUDED_FILES,
                excluded_tests=EXCLUDED_TESTS,
                loop_files=frozenset(LOOP_FILES),
            )
        )
    )
