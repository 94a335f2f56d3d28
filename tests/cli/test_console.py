"""Tables that do not go to a terminal."""

import subprocess
import sys


def test_no_table_is_folded_in_a_pipe() -> None:
    command = [sys.executable, "-m", "cluster", "plan", "llama-3.1-70b", "--gpu", "H100", "--audit"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    row = next(line for line in written.splitlines() if line.split()[:2] == ["fp8", "int4"])
    assert len(row.split("fit")) == 2, "the shortest context that fits stands in the row"
    assert row.rstrip().endswith(")"), "and so does the last column"
