# SPDX-License-Identifier: GPL-2.0-only
"""Whether clean+invalidate really does it: bytes before and after, line by line."""
