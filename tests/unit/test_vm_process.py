# SPDX-License-Identifier: GPL-2.0-only
"""The host's tools: what becomes of them, and of us, when they are interrupted."""

from __future__ import annotations

import pytest

from pyctl.vm.process import run


@pytest.mark.parametrize("then", ["exit 0", "exec sleep 100"])
def test_ctrl_c_is_a_ctrl_c_whether_or_not_the_tool_has_ended(then: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", f"kill -INT $PPID; {then}"], what="be interrupted")
