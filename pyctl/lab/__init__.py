# SPDX-License-Identifier: GPL-2.0-only
"""Results of many boards and nights, in the forms that labs read."""
