# SPDX-License-Identifier: GPL-2.0-only
"""``python3 -m pyctl``: the command line without an installed script."""

import sys

from pyctl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
