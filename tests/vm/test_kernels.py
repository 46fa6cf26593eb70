# SPDX-License-Identifier: GPL-2.0-only
"""The kernels that we promise: the modules build for each without a warning, and work on it.

Every build of the modules is one with W=1 and -Werror (``pyctl.vm.build``), so that it
succeeds says that there is no warning. Each kernel costs 130 MB and a boot, so by default
there is one besides the newest, on which all other tests run; ``--full`` takes the rest. The
one with pages of 64 KiB is no part of it: ``python -m pyctl.vm.ownkernel 64k`` says its name, and
``pytest tests/target`` takes that.
"""

import json

import pytest

from pyctl.cache import Cache
from pyctl.errors import UsageError
from pyctl.target.modinfo import ModuleFile
from pyctl.vm.build import Builder
from pyctl.vm.roots import Roots

# The kernels of Debian 12 and 13, those that came after, and every other flavour.
EVERY_KERNEL = ("6.1", "6.12", "7.2", "7.3", "arm64", "arm64-16k", "rt-arm64")
# The oldest that Debian has is where most is missing.
BY_DEFAULT = ("6.1",)
FRAMEWORK_SINCE = (6, 19)
PAGE_BYTES = {"arm64-16k": 1 << 14}
RANGE = ("--addr", "0x5f000000", "--size", "64K")
REQUESTS = {
    "memregion": RANGE,
    "smccc": (*RANGE, "--via", "smccc"),
    "va": (*RANGE, "--via", "va"),
    "scratch": ("--scratch", "64K", "--via", "smccc"),
}
WORK = f"""
import json, os, re, subprocess
log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
def pyctl(*arguments):
    done = subprocess.run(["pyctl", *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr
answer = {{"release": os.uname().release, "page_bytes": os.sysconf("SC_PAGE_SIZE")}}
for name, request in {REQUESTS!r}.items():
    answer[name] = pyctl("invalidate", *request, "--json")
answer["doctor"] = pyctl("doctor", "--json")
answer["unload"] = pyctl("unload")
answer["complaints"] = []
try:
    while True:
        record = os.read(log, 8192).decode(errors="replace")
        if re.search("WARNING:|BUG:|Call trace|sleeping function|Unknown symbol|disagrees", record):
            answer["complaints"].append(record)
except BlockingIOError:
    print(json.dumps(answer))
"""


def pytest_generate_tests(metafunc):
    if "kernel" in metafunc.fixturenames:
        full = metafunc.config.getoption("full")
        metafunc.parametrize("kernel", EVERY_KERNEL if full else BY_DEFAULT)


@pytest.fixture
def roots():
    return Roots(Cache())


@pytest.fixture
def found(roots, kernel):
    """The kernel that Debian has by this name."""
    try:
        return roots.kernel(kernel)
    except UsageError as error:
        # Versions leave the archive; those that are in the cache stay.
        pytest.skip(error.message)


def modules_of(roots, found):
    """The modules for a kernel, by name."""
    entry = Builder(roots.cache, roots).modules(found)
    return {path.stem: ModuleFile.read(path) for path in entry.path.glob("*.ko")}


def test_the_modules_build_without_a_warning_and_work(pyctl, roots, found, kernel):
    has_framework = found.version >= FRAMEWORK_SINCE
    modules = modules_of(roots, found)
    assert set(modules) == {"memregion_test"} | ({"smccc_cache"} if has_framework else set())
    for module in modules.values():
        assert module.release == found.release
        assert module.srcversion

    done = pyctl.on_board("python3", "-c", WORK, options=("--kernel", kernel, "--cold"))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["release"] == found.release
    assert answer["page_bytes"] == PAGE_BYTES.get(kernel, 1 << 12)
    for name in REQUESTS:
        status, out, err = answer[name]
        if name == "memregion" and not has_framework:
            assert (status, json.loads(out)["ok"]) == (3, False), err
            assert "6.19" in err
        else:
            assert (status, json.loads(out)["ok"]) == (0, True), (name, err)
    status, out, err = answer["doctor"]
    states = {check["name"]: check["state"] for check in json.loads(out)["checks"]}
    assert states["framework"] == ("ok" if has_framework else "missing")
    assert (states["memregion_test"], states["function"]) == ("ok", "ok")
    assert answer["unload"][0] == 0
    assert answer["complaints"] == []
