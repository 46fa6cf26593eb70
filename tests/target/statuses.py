# SPDX-License-Identifier: GPL-2.0-only
"""The statuses once more, transcribed for the tests (DEN0028 v1.7, section 7.10).

The code under test has its own; a wrong number would otherwise pass unseen.
"""

import enum


class Status(enum.IntEnum):
    SUCCESS = 0
    NOT_SUPPORTED = -1
    NOT_REQUIRED = -2
    INVALID_PARAMETER = -3
    RATE_LIMITED = -4
    BUSY = -5
