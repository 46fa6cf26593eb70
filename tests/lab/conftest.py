# SPDX-License-Identifier: GPL-2.0-only
"""What is set up as for the unit tests, but for processes that are real ones."""

from tests.unit.conftest import machine, pyctl, pytest_configure

__all__ = ["machine", "pyctl", "pytest_configure"]
