"""A fault tells where it happened and leaves nothing of the data behind."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llama4coder.faults import log_fault

ALLOW = "import os, resource; resource.setrlimit(resource.RLIMIT_CORE, (-1, -1)); "
QUIETLY = "import cluster; "
CRASH = "os.abort()"


def leaves_a_core(folder: Path, before: str) -> bool:
    process = subprocess.Popen(
        [sys.executable, "-c", ALLOW + before + CRASH],
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
        pytest.skip("this user or this machine writes no cores, whatever crashes")


def test_a_fault_is_logged_without_its_message(caplog: pytest.LogCaptureFixture) -> None:
    secret = "canary"
    try:
        raise ValueError(secret)
    except ValueError as error:
        log_fault(logging.getLogger("test"), "it broke", error)
    assert "it broke: ValueError in test_a_fault_is_logged" in caplog.text
    assert secret not in caplog.text
