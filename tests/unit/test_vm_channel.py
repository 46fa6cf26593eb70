# SPDX-License-Identifier: GPL-2.0-only
"""Frames survive any way in which a stream may cut them, and garbage is noticed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyctl.vm.channel import MAX_PAYLOAD_BYTES, Decoder, Frame, ProtocolError, encode, split

frames = st.tuples(st.sampled_from(Frame), st.integers(0, 2**32 - 1), st.binary(max_size=300))


@given(st.lists(frames, max_size=8), st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(sent, data):
    stream = b"".join(encode(*frame) for frame in sent)
    decoder = Decoder()
    received: list[tuple[Frame, int, bytes]] = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        received += decoder.feed(stream[:size])
        stream = stream[size:]
    assert received == sent


def test_long_data_is_split_and_nothing_is_lost():
    data = bytes(range(256)) * 1000
    payloads = [p for frame in split(Frame.STDOUT, 7, data) for _, _, p in Decoder().feed(frame)]
    assert b"".join(payloads) == data
    assert max(map(len, payloads)) <= MAX_PAYLOAD_BYTES


def test_json_payloads():
    [(kind, request, payload)] = Decoder().feed(encode(Frame.EXIT, 3, {"status": 7}))
    assert (kind, request, json.loads(payload)) == (Frame.EXIT, 3, {"status": 7})


@pytest.mark.parametrize("garbage", [b"\x00" * 9, b"[    1.0] Kernel panic - not syncing"])
def test_garbage_is_not_taken_for_frames(garbage):
    with pytest.raises(ProtocolError):
        list(Decoder().feed(garbage))
