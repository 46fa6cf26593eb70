# SPDX-License-Identifier: GPL-2.0-only
"""What a machine is refused for before QEMU starts."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import cast

import pytest

from pyctl.errors import NotReady
from pyctl.vm.layout import INITRD_ADDR, KERNEL_ADDR
from pyctl.vm.plan import BoardPlan, Parts
from pyctl.vm.recipes import DeviceTreeBoot
from pyctl.vm.spec import Spec


@pytest.mark.parametrize("too_much", [1, 1 << 30])
def test_a_kernel_that_would_grow_into_the_root_is_refused(tmp_path: Path, too_much: int) -> None:
    image = tmp_path / "Image"
    image.write_bytes(struct.pack("<8sQQ", b"", 0, INITRD_ADDR - KERNEL_ADDR + too_much))
    with pytest.raises(NotReady, match=r"The kernel .*Image needs \d+ MiB"):
        DeviceTreeBoot(Spec()).arguments(cast(BoardPlan, None), Parts(image, image, ()), tmp_path)
