# SPDX-License-Identifier: GPL-2.0-only
"""The command line: link 1 of the chain, one file for each command."""
