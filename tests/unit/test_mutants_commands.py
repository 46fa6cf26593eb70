# SPDX-License-Identifier: GPL-2.0-only
"""What the score takes for a finding of the commands, and what not."""

from __future__ import annotations

import json
import sys

import pytest

from pyctl.errors import TargetLost
from tests.mutants import commands


def test_a_board_that_is_lost_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Boards:
        def boot(self, _spec: object) -> None:
            raise TargetLost("It hangs.")

    monkeypatch.setattr(commands, "BoardFactory", lambda _cache: Boards())
    monkeypatch.setattr(sys, "argv", ["commands", json.dumps(commands.asked("dt", ""))])
    with pytest.raises(SystemExit, match="the board was lost: It hangs"):
        commands.main()
