# SPDX-License-Identifier: GPL-2.0-only
"""What a machine's firmware does, rule by rule.

``outcome`` is what comes of a rule, ``access`` what a run needs of the machine,
``prober`` how a rule makes its calls, and ``rule`` what a rule is. The topics
(``discovery``, ``calls``, ``timing``, ``questions``, ``registers``) hold the rules
and know nothing of each other, ``run`` goes through all of them, and ``ledger``
keeps what came of it and compares two of these.
"""
