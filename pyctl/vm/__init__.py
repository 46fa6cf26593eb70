# SPDX-License-Identifier: GPL-2.0-only
"""The virtual board: a QEMU, a stock kernel, and firmware of our own below it."""
