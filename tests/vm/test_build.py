# SPDX-License-Identifier: GPL-2.0-only
"""The modules build for the kernels that we promise, and carry what makes them recognisable.

Every build is one with W=1 and -Werror (``pyctl.vm.build``), so that it
succeeds says that there is no warning.
"""

import pytest

from pyctl.modinfo import ModuleFile
from pyctl.vm.build import Builder
from pyctl.vm.cache import Cache
from pyctl.vm.roots import Roots

FRAMEWORK = (6, 19)


@pytest.mark.parametrize(
    ("kernel", "names"),
    [
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
