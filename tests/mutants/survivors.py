# SPDX-License-Identifier: GPL-2.0-only
"""Automatic mutants that nothing can tell from the original, each with the proof."""

from __future__ import annotations

SURVIVORS: dict[str, str] = {}
