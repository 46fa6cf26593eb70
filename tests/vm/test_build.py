# SPDX-License-Identifier: GPL-2.0-only
"""What is built for a board, beside the modules: bytecode of the target tests."""

from pathlib import Path

TOP = Path(__file__).resolve().parents[2]


# Layout of a bytecode file: PEP 552.
TAKEN = """\
import marshal, pathlib, pytest, struct, sys
for source in pathlib.Path("/opt/pyctl/tests/target").glob("test_*.py"):
    tag = f"{sys.implementation.cache_tag}-pytest-{pytest.__version__}"
    cached = source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"
    header, code = cached.read_bytes()[:16], cached.read_bytes()[16:]
    flags, time, size = struct.unpack("<4xIII", header)
    stat = source.stat()
    assert (flags, time, size) == (0, int(stat.st_mtime), stat.st_size), source
    assert marshal.loads(code).co_filename == str(source)
    print(source.name)
"""


def test_a_board_need_not_compile_the_target_tests(pyctl):
    """Pytest's own bytecode is there, and is of the very files that are there."""
    done = pyctl.on_board("python3", "-c", TAKEN)
    assert done.returncode == 0, done.stderr
    tests = {path.name for path in (TOP / "tests/target").glob("test_*.py")}
    assert set(done.stdout.split()) == tests
