# SPDX-License-Identifier: GPL-2.0-only
"""What is built for a board: modules for the kernels that we promise, recognisable, and bytecode.

Every build of the modules is one with W=1 and -Werror (``pyctl.vm.build``), so that it
succeeds says that there is no warning.
"""

from pathlib import Path

import pytest

from pyctl.cache import Cache
from pyctl.target.modinfo import ModuleFile
from pyctl.vm.build import Builder
from pyctl.vm.roots import Roots

TOP = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("kernel", "names"),
    [
        # The kernel of Debian 12, the oldest that Debian still has.
        ("6.1", {"memregion_test"}),
        # Debian's stable kernel, which has no framework and so no place for a provider.
        ("6.12", {"memregion_test"}),
        ("cloud-arm64", {"memregion_test", "smccc_cache"}),
        # Pages of 16 KiB.
        ("arm64-16k", {"memregion_test", "smccc_cache"}),
    ],
)
def test_the_modules_build_without_a_warning(kernel, names):
    roots = Roots(Cache())
    found = roots.kernel(kernel, None)
    entry = Builder(roots.cache, roots).modules(found)
    modules = {path.stem: ModuleFile.read(path) for path in entry.path.glob("*.ko")}
    assert set(modules) == names
    for module in modules.values():
        assert module.release == found.release
        assert module.srcversion


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
