"""Finding and ending processes, and the watchdog that does so in the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from cluster.processes import Process, descendants, kill

NESTED = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
time.sleep(60)
"""

GUARDED = """
import subprocess, sys, time
from pathlib import Path
from cluster.watchdog import Watchdog
watchdog = Watchdog(Path(sys.argv[1]))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
time.sleep(1.5)
print(child.pid, flush=True)
time.sleep(60)
"""

# In a process of its own, since it ends whatever its parent has started.
DISMISSING = """
import os, sys
from pathlib import Path
from cluster.processes import descendants
from cluster.watchdog import Watchdog
watchdog = Watchdog(Path(sys.argv[1]))
assert descendants({os.getpid()})
watchdog.dismiss()
assert not descendants({os.getpid()})
"""


def own_child(pid: int) -> Process:
    """One child only: this process may have others that are not the test's, such as multiprocessing's tracker."""
    (child,) = (process for process in descendants({os.getpid()}) if process.pid == pid)
    return child


def test_whole_tree_is_found_and_ended() -> None:
    before = descendants({os.getpid()})
    parent = subprocess.Popen([sys.executable, "-c", NESTED])
    deadline_s = time.monotonic() + 10
    while len(tree := descendants({os.getpid()}) - before) < 2:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    assert parent.pid in {process.pid for process in tree}
    assert kill(tree, 5) == set()
    assert not any(process.is_running() for process in tree)
    parent.wait()
    assert kill(tree, 5) == set(), "killing the dead is nothing"


def test_process_number_used_again_is_another_process() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    found = own_child(child.pid)
    assert found.is_running()
    assert not Process(found.pid, found.start_ticks - 1).is_running()
    assert kill({Process(found.pid, found.start_ticks - 1)}, 1) == set()
    assert child.poll() is None
    child.kill()
    child.wait()


def test_process_that_does_not_end_is_told() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    found = {own_child(child.pid)}
    assert kill(found, 0.0) <= found
    child.wait()


def test_watchdog_ends_what_a_killed_parent_left(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, "-c", GUARDED, str(folder)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    orphan_pid = int(parent.stdout.readline())
    (orphan,) = (process for process in descendants({parent.pid}) if process.pid == orphan_pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline_s = time.monotonic() + 5
    while orphan.is_running() or folder.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_dismissed_watchdog_ends(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    folder.mkdir()
    subprocess.run([sys.executable, "-c", DISMISSING, str(folder)], check=True)
    assert not folder.exists()
