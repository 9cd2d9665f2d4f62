"""One value, one spelling: every other spelling of the same value is refused."""

from __future__ import annotations

import contextlib
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potchain.blocks import BlockHeader, Event, Proposal, ProposalHeader, Receipt, StateChange, StateChanges
from potchain.codec import Canonical, decode, encode
from potchain.errors import CodecError
from potchain.genesis import Parameters
from potchain.primitives import Bytes32, Uint64


class Sample(Canonical, frozen=True):
    number: Uint64
    name: str
    digest: Bytes32
    data: bytes
    maybe: bytes | None
    choice: Literal["one", "two"]
    many: tuple[Uint64, ...]


DIGEST = bytes(range(32))
SAMPLE = Sample(7, "seven", DIGEST, b"\x01\x02", None, "two", (0, 300))

samples = st.builds(
    Sample,
    number=st.integers(0, 2**64 - 1),
    name=st.text(max_size=40),
    digest=st.binary(min_size=32, max_size=32),
    data=st.binary(max_size=300),
    maybe=st.none() | st.binary(max_size=10),
    choice=st.sampled_from(["one", "two"]),
    many=st.lists(st.integers(0, 2**64 - 1), max_size=20).map(tuple),
)


@given(samples)
def test_what_is_encoded_decodes_to_itself(sample: Sample) -> None:
    assert decode(Sample, encode(sample)) == sample


def test_the_form_is_a_positional_array() -> None:
    assert encode(SAMPLE) == bytes.fromhex("9707a5736576656ec420" + DIGEST.hex() + "c4020102c0a374776f9200cd012c")


@pytest.mark.parametrize(
    ("spelling", "data"),
    [
        ("a long array header", b"\xdc\x00\x07" + encode(SAMPLE)[1:]),
        ("a longer array header", b"\xdd\x00\x00\x00\x07" + encode(SAMPLE)[1:]),
        ("a wide integer", encode(SAMPLE).replace(b"\x97\x07", b"\x97\xcc\x07")),
        ("a wider integer", encode(SAMPLE).replace(b"\x97\x07", b"\x97\xcd\x00\x07")),
        ("the widest integer", encode(SAMPLE).replace(b"\x97\x07", b"\x97\xcf" + bytes(7) + b"\x07")),
        ("a signed integer", encode(SAMPLE).replace(b"\x97\x07", b"\x97\xd0\x07")),
        ("a float", encode(SAMPLE).replace(b"\x97\x07", b"\x97\xcb\x40\x1c" + bytes(6))),
        ("a long string header", encode(SAMPLE).replace(b"\xa5seven", b"\xd9\x05seven")),
        ("a long bytes header", encode(SAMPLE).replace(b"\xc4\x02", b"\xc5\x00\x02")),
        ("bytes as a string", encode(SAMPLE).replace(b"\xc4\x02", b"\xa2")),
        ("a string as bytes", encode(SAMPLE).replace(b"\xa5seven", b"\xc4\x05seven")),
        ("false for nil", encode(SAMPLE).replace(b"\xc0", b"\xc2")),
        ("a byte after the end", encode(SAMPLE) + b"\x00"),
        ("a byte missing", encode(SAMPLE)[:-1]),
        ("one more field", b"\x98" + encode(SAMPLE)[1:] + b"\x00"),
        ("one field less", b"\x96" + encode(SAMPLE)[1:-5]),
        ("a map", msgspec.msgpack.encode({"number": 7})),
        ("a digest of 31 bytes", encode(SAMPLE).replace(b"\xc4\x20\x00", b"\xc4\x1f")),
        ("another choice", encode(SAMPLE).replace(b"two", b"six")),
        ("a negative number", encode(SAMPLE).replace(b"\x97\x07", b"\x97\xff")),
        ("not UTF-8", encode(SAMPLE).replace(b"seven", b"se\xffen")),
        ("an extension type", b"\xc7\x00\x01"),
        ("deep nesting", b"\x91" * 100_000),
        ("nothing", b""),
    ],
)
def test_no_other_spelling_is_accepted(spelling: str, data: bytes) -> None:
    assert data != encode(SAMPLE), "the case changes something"
    with pytest.raises(CodecError, match=r"^Sample: "):
        decode(Sample, data)


def test_size_is_checked_before_anything_is_parsed() -> None:
    data = encode(SAMPLE)
    assert decode(Sample, data, size_max=len(data)) == SAMPLE
    with pytest.raises(CodecError, match=f"{len(data)} bytes, at most {len(data) - 1}"):
        decode(Sample, data, size_max=len(data) - 1)


HEADER = ProposalHeader(DIGEST, 0, 5, 1_700_000_000_000, b"\x05" * 20, DIGEST, 2)
STRUCTURES: tuple[Canonical, ...] = (
    SAMPLE,
    HEADER,
    Proposal(HEADER, (DIGEST, DIGEST)),
    Receipt(DIGEST, 300, "failed", "zero_amount", DIGEST, (Event("Transferred", b"\x01"),)),
    StateChanges((StateChange(b"a", None), StateChange(b"b", b""))),
    BlockHeader(DIGEST, 0, 1, DIGEST, DIGEST, b"", 2**63, DIGEST, 0, DIGEST, DIGEST, DIGEST, b""),
    Parameters(),
)


@given(st.sampled_from(STRUCTURES), st.data())
def test_mutated_bytes_are_refused_or_mean_another_value(structure: Canonical, data: st.DataObject) -> None:
    """Any bytes that decode at all are the one spelling of what they decode to."""
    original = encode(structure)
    mutated = bytearray(original)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        cut = data.draw(st.integers(0, 2))
        mutated[at : at + cut] = data.draw(st.binary(max_size=3))
    changed = bytes(mutated)
    try:
        value = decode(type(structure), changed)
    except CodecError:
        return
    assert encode(value) == changed
    assert (value == structure) == (changed == original)


@given(st.sampled_from(STRUCTURES), st.binary(max_size=200))
def test_rubbish_raises_nothing_but_codec_error(structure: Canonical, data: bytes) -> None:
    with contextlib.suppress(CodecError):
        assert encode(decode(type(structure), data)) == data
