"""Ten thousand connections at once, a hundred thousand in turn."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest
from conftest import TESTS


@pytest.fixture
def peers(kind):
    """Run a server and a client of the kind under test, each in a process of its own."""

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, str(TESTS / "peers.py"), kind, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def peers(how, count, timeout):
        with start("serve") as server:
            try:
                with start(how, int(server.stdout.readline()), count) as client:
                    client_says, _ = client.communicate(timeout=timeout)
                assert client.returncode == 0
                server_says, _ = server.communicate("\n", timeout=timeout)
                assert server.returncode == 0
            finally:
                server.kill()
        return client_says, server_says

    return peers


def assert_as_before(line, kilobytes):
    """The last line of a peer: descriptors and memory before and after."""
    descriptors, memory, descriptors_after, memory_after = map(int, line.split()[-4:])
    assert descriptors_after <= descriptors
    assert memory_after - memory < kilobytes


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 10_100,
    reason="the hard limit of descriptors is below 10,100",
)
@pytest.mark.faults
def test_ten_thousand_at_once(peers):
    client, server = peers("at_once", 10_000, 25)
    assert int(client.split()[1]) > 10_000
    # Freed, but the allocators of both languages keep some of what the peak needed.
    assert_as_before(client, 200_000)
    assert_as_before(server, 100_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_hundred_thousand_in_turn(peers):
    for peer in peers("in_turn", 100_000, 500):
        assert_as_before(peer, 10_000)
