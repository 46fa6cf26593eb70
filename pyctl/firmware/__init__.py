# SPDX-License-Identifier: GPL-2.0-only
"""The virtual board's firmware, link 5 of the chain, in its own language."""
