# SPDX-License-Identifier: GPL-2.0-only
"""Where a user's cache and kept results are, whether or not anything is there."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """The cache directory: ``$PYCTL_CACHE``, else ``$XDG_CACHE_HOME/pyctl``."""
    if path := os.environ.get("PYCTL_CACHE"):
        return Path(path)
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "pyctl" if base else home_cache(home())


def state_root() -> Path:
    """Where results are kept: ``$XDG_STATE_HOME/pyctl``."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else home() / ".local/state") / "pyctl"


def home() -> Path:
    """The home directory, which need not be there; "/nonexistent" where nobody names one."""
    named = os.path.expanduser("~")
    return Path("/nonexistent" if named == "~" else named)


def home_cache(directory: Path) -> Path:
    """The cache of the user with this home directory."""
    return directory / ".cache/pyctl"
