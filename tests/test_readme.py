"""What README.md shows runs."""

import pathlib
import re

import pytest
from kinds import KINDS

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.skipif("velodrome" not in KINDS, reason="only the oracle runs")
def test_the_python_example(script):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = script(code)
    assert done.stdout == "<class 'velodrome._loop.EventLoop'>\n"
