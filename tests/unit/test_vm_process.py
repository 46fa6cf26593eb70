# SPDX-License-Identifier: GPL-2.0-only
"""The host's tools: what becomes of them, and of us, when they are interrupted."""

from __future__ import annotations

import pytest

from pyctl.vm.process import run


@pytest.mark.parametrize("then", ["exit 0", "exec sleep 100"])
def test_ctrl_c_is_a_ctrl_c_whether_or_not_the_tool_has_ended(then: str) -> None:
    # By then we wait for it. A Ctrl-C within Popen() itself leaves the tool to the signal
    # that it gets when we end.
    script = f"sleep 1; kill -INT $PPID; {then}"
    with pytest.raises(KeyboardInterrupt):
        run(["sh", "-c", script], what="be interrupted")
