# SPDX-License-Identifier: GPL-2.0-only
"""The machine under test as user space sees it: links 2 to 4 of the chain."""
