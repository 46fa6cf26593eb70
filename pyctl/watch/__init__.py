# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own callers while they work: who calls, for which range, and what came of it."""
