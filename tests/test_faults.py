"""A fault tells where it happened and leaves nothing of the data behind."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llama4coder.faults import log_fault

CRASH = "import resource, os; _, most = resource.getrlimit(4); resource.setrlimit(4, (most, most)); {}os.abort()"
QUIETLY = "import cluster; "


def leaves_a_core(folder: Path, before: str) -> bool:
    process = subprocess.Popen(
        [sys.executable, "-c", CRASH.format(before)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stderr=subprocess.DEVNULL,
    )
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return os.WCOREDUMP(status) or any(folder.iterdir())


def test_a_crash_leaves_no_core(tmp_path: Path) -> None:
    assert not leaves_a_core(tmp_path, QUIETLY)
    if not leaves_a_core(tmp_path, ""):
        pytest.skip("this machine writes no cores, whoever crashes")


def test_a_fault_is_logged_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    secret = "canary"
    try:
        raise ValueError(secret)
    except ValueError as error:
        log_fault(logging.getLogger("test"), "it broke", error)
    assert "it broke: ValueError in test_a_fault_is_logged" in caplog.text
    assert secret not in caplog.text
