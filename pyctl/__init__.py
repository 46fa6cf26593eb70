# SPDX-License-Identifier: GPL-2.0-only
"""Exercise the SMCCC cache clean+invalidate call, from the shell to the firmware.

The one version of this project: the modules carry the same string, and
``pyctl doctor`` compares the two.
"""

__version__ = "0.1.0"
