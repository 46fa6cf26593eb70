# SPDX-License-Identifier: GPL-2.0-only
"""Planted defects: what `scripts/mutants` runs the target suite against."""
