# SPDX-License-Identifier: GPL-2.0-only
"""What a machine's firmware does, rule by rule.

``rule`` says what a rule and its outcome are, ``bench`` is what a rule may do
to the machine, the topics (``discovery``, ``registers``, ``calls``, ``timing``,
``questions``) hold the rules, ``run`` goes through all of them, and ``ledger``
keeps what came of it and compares two of these.
"""
