#!/usr/bin/env python3
"""The tests that uvloop publishes (fetch.py brings them), on the loop of LOOPMODULE.

python run_uvloop_suite.py LOOPMODULE [--python PATH]... [--driver NAME]... [--help]
"""

import os
import sys

import fetch
import parent
import score

EXCLUDED_FILES = {
    "test_cython": "Cython coroutine objects",
    "test_libuv_api": "libuv handles and version",
    "test_fs_event": "loop._monitor_fs, a private extension of uvloop (FileSystemEvent from uvloop.loop)",
    "test_sourcecode": "flake8 and mypy over uvloop sources",
    "test_testbase": "the metaclass of the test base itself",
}

_NET = "resolves names outside this machine (no internet here)"
EXCLUDED_TESTS = [
    ("test_dns.Test_UV_DNS.test_getaddrinfo_1", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_2", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_3", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_4", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_5", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_6", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_11", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_21", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_22", _NET),
    ("test_dns.Test_UV_DNS.test_getaddrinfo_close_loop", _NET),
    ("test_udp.Test_UV_UDP.test_udp_sendto_dns", _NET + "; uvloop refuses names in sendto"),
    ("test_udp.Test_UV_UDP.test_udp_sendto_broadcast", "sends outside the loopback range"),
    ("test_runner.TestSourceCode.test_uvloop_run_2", "the words 'a non-uvloop event loop'"),
    (
        "test_base.TestBaseUV.test_thread_name_prefix_in_default_executor",
        "thread names must start with 'uvloop'",
    ),
    (
        "test_process.Test_UV_Process_Delayed.test_process_delayed_stdio__paused__*",
        "private keyword __uvloop_sleep_after_fork",
    ),
    ("test_sockets.TestUVSockets.test_socket_sync_remove", "loop._get_backend_id() (epoll of libuv)"),
    (
        "test_tcp.*.test_remote_shutdown_receives_trailing_data",
        "transport._test__append_write_backlog (private)",
    ),
    (
        "test_sockets.TestUVSockets.test_socket_connect_and_close",
        "closes a socket that is being connected: hangs on asyncio too, whose users know better",
    ),
    ("test_tcp.*.test_flush_before_shutdown", "get_extra_info('uvloop.sslproto')"),
]

if __name__ == "__main__":
    fetch.uvloop()
    tests = os.path.join(parent.CACHE, "uvloop_tests")
    sys.exit(
        score.main(
            score.Suite(
                name="uvloop",
                describe=__doc__,
                find_files=(
                    f"import os; print(*(n[:-3] for n in os.listdir({tests!r}) "
                    "if n.startswith('test_') and n.endswith('.py')))"
                ),
                no_files="no tests in the cache folder",
                references=["uvloop-asyncio-{}.json", "uvloop-uvloop-{}.json"],
                excluded_files=EXCLUDED_FILES,
                excluded_tests=EXCLUDED_TESTS,
            )
        )
    )
