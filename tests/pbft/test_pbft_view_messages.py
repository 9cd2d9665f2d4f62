"""Bytes of view changes and new views: what is read, what is refused, and what a set of view changes decides."""

from __future__ import annotations

from itertools import combinations, permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pbft_members import (
    FACTORY,
    GENESIS_HASH,
    block_certificate,
    digest_of,
    is_signed,
    make_epoch,
    make_proposal,
    message_fault,
    sign,
    test_key,
)

from potchain.blocks import null_request, proposal_digest
from potchain.codec import encode
from potchain.consensus.interface import ConsensusMessage, MessageName
from potchain.consensus.quorum import Quorum
from potchain.errors import CodecError
from potchain.genesis import Epoch
from potchain_pbft.messages import PreparedCertificate, VoteSignature
from potchain_pbft.view_messages import (
    NEW_VIEW,
    VIEW_CHANGE,
    NewView,
    ViewChange,
    body_digest,
    choose,
    read_new_view,
    read_view_change,
)

EPOCH = make_epoch(4, checkpoint_interval=2, log_window=4)
FIVE = make_epoch(5, checkpoint_interval=2, log_window=4)
ZERO = bytes(32)


def prepared(
    view: int, sequence: int, salt: int = 0, signers: tuple[int, ...] | None = None, epoch: Epoch = EPOCH
) -> PreparedCertificate:
    """A certificate that is good: of the primary of the view, and of these backups."""
    members = range(len(epoch.members))
    primary = [test_key(member).address for member in members].index(epoch.primary(view))
    backups = signers if signers is not None else tuple(member for member in members if member != primary)[:2]
    digest = digest_of(make_proposal(epoch, sequence, view, salt))
    prepares = sorted(
        [
            VoteSignature(test_key(backup).address, sign(backup, "prepare", view, sequence, digest).signature)
            for backup in backups
        ],
        key=lambda entry: entry.sender,
    )
    signature = sign(primary, "pre-prepare", view, sequence, digest).signature
    return PreparedCertificate(view, sequence, digest, signature, tuple(prepares))


def certificate(height: int, *signers: int) -> bytes:
    return encode(block_certificate(height, *(signers or (0, 1, 2))))


def view_change(view: int, body: ViewChange | bytes, sender: int = 2, sequence: int = 0) -> ConsensusMessage:
    raw = body if isinstance(body, bytes) else encode(body)
    return sign(sender, VIEW_CHANGE, view, sequence, body_digest(raw), raw)


def new_view(view: int, names: list[MessageName], sender: int = 1, sequence: int = 0) -> ConsensusMessage:
    raw = encode(NewView(tuple(names)))
    return sign(sender, NEW_VIEW, view, sequence, body_digest(raw), raw)


def names(*members: int, digest: bytes = ZERO) -> list[MessageName]:
    return sorted((MessageName(test_key(member).address, digest) for member in members), key=lambda name: name.sender)


GOOD = ViewChange(2, certificate(2), (prepared(0, 3), prepared(1, 5), prepared(0, 6)))


def test_a_view_change_of_a_full_window_is_read_and_all_its_signatures_are_checked() -> None:
    message = view_change(2, GOOD)
    assert read_view_change(message, EPOCH) == GOOD
    parts = FACTORY.signed_parts(message, GENESIS_HASH, EPOCH)
    assert len(parts) == 3 + 3 * (1 + 2)
    assert all(is_signed(EPOCH, *part) for part in parts)
    assert message_fault(EPOCH, message) is None


def bad(**changes: object) -> PreparedCertificate:
    return msgspec.structs.replace(prepared(0, 3), **changes)


VOTES = prepared(0, 3).prepares
REFUSED = {
    "no certificate": (ViewChange(2, b"", ()), "BlockCertificate"),
    "a certificate where the epoch begins": (ViewChange(0, certificate(2), ()), "needs no certificate"),
    "between two checkpoints": (ViewChange(3, certificate(3), ()), "no checkpoint"),
    "a certificate of another height": (ViewChange(2, certificate(4), ()), "for height 4"),
    "a certificate of another epoch": (
        ViewChange(2, encode(msgspec.structs.replace(block_certificate(2, 0, 1, 2), epoch=1)), ()),
        "of epoch 1",
    ),
    "a certificate of too few": (ViewChange(2, certificate(2, 0, 1), ()), "2 signatures where 3"),
    "a certificate with a signer twice": (ViewChange(2, certificate(2, 0, 1, 1), ()), "not distinct"),
    "a certificate with a stranger": (ViewChange(2, certificate(2, 0, 1, 9), ()), "no member"),
    "a certificate with rubbish": (ViewChange(2, certificate(2) + b"\x00", ()), "BlockCertificate"),
    "prepared at the checkpoint": (ViewChange(2, certificate(2), (prepared(0, 2),)), "out of order or of the window"),
    "prepared above the window": (ViewChange(2, certificate(2), (prepared(0, 7),)), "out of order or of the window"),
    "prepared in no order": (ViewChange(0, b"", (prepared(0, 3), prepared(0, 2))), "out of order"),
    "prepared twice": (ViewChange(0, b"", (prepared(0, 3), prepared(1, 3))), "out of order"),
    "prepared in the view that begins": (ViewChange(0, b"", (prepared(2, 3),)), "which is not below"),
    "the primary among the prepares": (
        ViewChange(0, b"", (prepared(0, 3, signers=(0, 1)),)),
        "primary of view 0 is counted twice",
    ),
    "too few prepares": (ViewChange(0, b"", (bad(prepares=VOTES[:1]),)), "1 signatures where 2"),
    "too many prepares": (ViewChange(0, b"", (prepared(0, 3, signers=(1, 2, 3)),)), "3 signatures where 2"),
    "a prepare twice": (ViewChange(0, b"", (bad(prepares=VOTES[:1] * 2),)), "not distinct"),
    "prepares in no order": (ViewChange(0, b"", (bad(prepares=VOTES[::-1]),)), "not distinct and sorted"),
    "a stranger's prepare": (ViewChange(0, b"", (prepared(0, 3, signers=(1, 9)),)), "no member"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_view_changes_that_do_not_fit_are_refused(case: str) -> None:
    body, reason = REFUSED[case]
    message = view_change(2, body)
    with pytest.raises(CodecError, match=reason):
        read_view_change(message, EPOCH)
    with pytest.raises(CodecError, match=reason):
        FACTORY.signed_parts(message, GENESIS_HASH, EPOCH)


def test_the_frame_of_a_view_change_is_checked() -> None:
    empty = encode(ViewChange(0, b"", ()))
    other = encode(ViewChange(0, b"", (prepared(0, 1),)))
    for message, reason in (
        (view_change(0, empty), "nothing changes to view 0"),
        (view_change(2, empty, sequence=1), "has sequence 0"),
        (msgspec.structs.replace(view_change(2, empty), body=other), "digest is not the body's"),
        (view_change(2, empty + b"\x00"), "ViewChange"),
        (view_change(2, b"\xc1" * 1_000_000), "at most"),
    ):
        with pytest.raises(CodecError, match=reason):
            read_view_change(message, EPOCH)


FORGED = {
    "pre-prepare": ViewChange(0, b"", (bad(pre_prepare=bytes(64)),)),
    "prepare": ViewChange(0, b"", (bad(prepares=(VOTES[0], msgspec.structs.replace(VOTES[1], signature=bytes(64)))),)),
    "digest": ViewChange(0, b"", (bad(digest=ZERO),)),
    "sequence": ViewChange(0, b"", (bad(sequence=4),)),
    "block": ViewChange(2, encode(msgspec.structs.replace(block_certificate(2, 0, 1, 2), block_hash=ZERO)), ()),
}


@pytest.mark.parametrize("case", FORGED)
def test_what_nobody_signed_is_well_formed_and_still_refused_by_its_signatures(case: str) -> None:
    message = view_change(2, FORGED[case])
    read_view_change(message, EPOCH)
    assert message_fault(EPOCH, message) == "bad signature within"


def test_a_certificate_moved_to_another_view_has_other_signers_or_no_signatures() -> None:
    moved = msgspec.structs.replace(prepared(0, 3, signers=(2, 3)), view=1)
    assert message_fault(EPOCH, view_change(2, ViewChange(0, b"", (moved,)))) == "bad signature within"


NEW_VIEWS = {
    "not by the primary": (new_view(1, names(0, 1, 2), sender=2), "not the primary of view 1"),
    "of view 0": (new_view(0, names(0, 1, 2), sender=0), "view 0 begins without"),
    "with a sequence": (new_view(1, names(0, 1, 2), sequence=1), "has sequence 0"),
    "too few": (new_view(1, names(0, 1)), "2 signatures where 3"),
    "more than members": (new_view(1, [*names(0, 1, 2, 3), *names(0)]), "5 signatures where 3"),
    "one twice": (new_view(1, names(0, 1, 1)), "not distinct"),
    "no order": (new_view(1, names(0, 1, 2)[::-1]), "not distinct and sorted"),
    "a stranger": (new_view(1, names(0, 1, 9)), "no member"),
    "no digest": (new_view(1, names(0, 1, 2, digest=b"")), "without its digest"),
    "another body": (
        msgspec.structs.replace(new_view(1, names(0, 1, 2)), body=new_view(1, names(0, 1, 3)).body),
        "digest is not the body's",
    ),
    "endless": (new_view(1, names(*[0] * 100)), "at most"),
    "rubbish": (sign(1, NEW_VIEW, 1, 0, body_digest(b"\xff"), b"\xff"), "NewView"),
}


@pytest.mark.parametrize("case", NEW_VIEWS)
def test_new_views_that_do_not_fit_are_refused(case: str) -> None:
    message, reason = NEW_VIEWS[case]
    with pytest.raises(CodecError, match=reason):
        read_new_view(message, EPOCH)
    with pytest.raises(CodecError, match=reason):
        FACTORY.signed_parts(message, GENESIS_HASH, EPOCH)


def test_a_new_view_may_name_a_quorum_or_more() -> None:
    for members in ((0, 1, 2), (0, 1, 2, 3)):
        assert len(read_new_view(new_view(1, names(*members)), EPOCH).view_changes) == len(members)
    assert read_new_view(new_view(5, names(0, 1, 2)), EPOCH), "node1 is the primary of view 5 too"
    with pytest.raises(CodecError, match="3 signatures where 4"):
        read_new_view(new_view(1, names(0, 1, 2)), FIVE)


# --- rubbish of any kind --------------------------------------------------------------------------------------------

HEIGHTS = st.integers(0, 8) | st.integers(0, 2**64 - 1)
DIGESTS = st.sampled_from([digest_of(make_proposal(EPOCH, sequence)) for sequence in range(1, 7)]) | st.binary(
    min_size=32, max_size=32
)
SENDERS = st.sampled_from([test_key(index).address for index in range(5)]) | st.binary(max_size=21)
SIGNATURES = st.binary(min_size=64, max_size=64)
VOTE_LISTS = st.lists(st.builds(VoteSignature, SENDERS, SIGNATURES), max_size=5).map(tuple)
ENTRIES = st.builds(PreparedCertificate, HEIGHTS, HEIGHTS, DIGESTS, SIGNATURES, VOTE_LISTS) | st.sampled_from(
    [prepared(view, sequence) for view in (0, 1) for sequence in (1, 3, 4)]
)
CERTIFICATES = st.sampled_from([b"", certificate(2), certificate(4)]) | st.binary(max_size=40)
BODIES = (
    st.builds(ViewChange, HEIGHTS, CERTIFICATES, st.lists(ENTRIES, max_size=4).map(tuple)).map(encode)
    | st.builds(NewView, st.lists(st.builds(MessageName, SENDERS, st.binary(max_size=33)), max_size=6).map(tuple)).map(
        encode
    )
    | st.binary(max_size=300)
)


@given(
    kind=st.sampled_from([VIEW_CHANGE, NEW_VIEW]),
    view=HEIGHTS,
    sequence=st.sampled_from([0, 0, 0, 1]),
    body=BODIES,
    honest=st.booleans(),
    sender=st.integers(0, 4),
)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_any_bytes_are_read_or_refused_by_name(
    kind: str, view: int, sequence: int, body: bytes, honest: bool, sender: int
) -> None:
    digest = body_digest(body) if honest else bytes(32)
    message = sign(sender, kind, view, sequence, digest, body)
    read = read_view_change if kind == VIEW_CHANGE else read_new_view
    try:
        found = read(message, EPOCH)
    except CodecError:
        with pytest.raises(CodecError):
            FACTORY.signed_parts(message, GENESIS_HASH, EPOCH)
        return
    assert encode(found) == body, "one form only"
    assert sequence == 0
    assert view > 0
    assert honest
    assert len(FACTORY.signed_parts(message, GENESIS_HASH, EPOCH)) <= 4 + 4 * 3


@given(data=st.data(), nodes=st.sampled_from([1, 2, 3, 4, 5, 7]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_one_flipped_byte_spoils_a_view_change(data: st.DataObject, nodes: int) -> None:
    epoch = make_epoch(nodes, checkpoint_interval=2, log_window=4)
    quorum = Quorum(nodes).quorum
    body = ViewChange(
        2,
        encode(block_certificate(2, *range(quorum))),
        (prepared(0, 3, signers=tuple(range(1, quorum)), epoch=epoch),),
    )
    message = sign(0, VIEW_CHANGE, 1, 0, body_digest(encode(body)), encode(body))
    assert message_fault(epoch, message) is None
    place = data.draw(st.integers(0, len(message.body) - 1))
    changed = bytearray(message.body)
    changed[place] ^= data.draw(st.integers(1, 255))
    forged = sign(0, VIEW_CHANGE, 1, 0, body_digest(bytes(changed)), bytes(changed))
    fault = message_fault(epoch, forged)
    # A faulty sender may sign anything, but every byte but the choice of what to leave out is signed by others.
    assert fault is not None


# --- what a set of view changes decides -----------------------------------------------------------------------------


def null(sequence: int) -> bytes:
    return proposal_digest(null_request(GENESIS_HASH, 0, sequence).header)


def test_base_top_gaps_and_the_highest_view() -> None:
    bodies = [
        ViewChange(0, b"", (prepared(0, 1), prepared(0, 2), prepared(0, 3), prepared(0, 4))),
        ViewChange(2, certificate(2), (prepared(1, 3, salt=1), prepared(0, 6))),
        ViewChange(0, b"", (prepared(0, 3),)),
    ]
    plan = choose(bodies, GENESIS_HASH, EPOCH)
    assert (plan.base, plan.top) == (2, 6)
    assert plan.chosen == {
        3: prepared(1, 3, salt=1).digest,
        4: prepared(0, 4).digest,
        5: null(5),
        6: prepared(0, 6).digest,
    }
    assert set(plan.holders) == {3, 4, 6}
    assert plan.holders[4][0] == EPOCH.primary(0)


def test_nothing_prepared_decides_nothing() -> None:
    plan = choose([ViewChange(0, b"", ()), ViewChange(2, certificate(2), ())], GENESIS_HASH, EPOCH)
    assert (plan.base, plan.top, plan.chosen, plan.holders) == (2, 2, {}, {})


def body_of(stable: int, wanted: dict[int, tuple[int, int]]) -> ViewChange:
    """A good view change; for each sequence a view, and which backup did not prepare."""
    entries = []
    for sequence, (view, absent) in sorted(wanted.items()):
        if stable < sequence <= stable + 4:
            backups = [member for member in range(4) if member != view]
            signers = [member for member in backups if member != backups[absent]]
            entries.append(prepared(view, sequence, signers=tuple(signers)))
    return ViewChange(stable, certificate(stable) if stable else b"", tuple(entries))


BODY_SETS = st.lists(
    st.builds(
        body_of,
        st.sampled_from([0, 0, 2]),
        st.dictionaries(st.integers(1, 6), st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=5),
    ),
    min_size=3,
    max_size=4,
)


@given(bodies=BODY_SETS)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_order_of_the_view_changes_does_not_matter(bodies: list[ViewChange]) -> None:
    first = choose(bodies, GENESIS_HASH, EPOCH)
    for order in permutations(bodies):
        assert choose(order, GENESIS_HASH, EPOCH) == first


def test_every_quorum_keeps_what_was_decided() -> None:
    """S and S' of the new view are not to be confused: whichever quorum of view changes is taken, what a quorum has
    prepared is chosen again. Those who prepared differ in their signers, one is behind and one ahead of it."""
    decided = prepared(1, 3, salt=5)
    bodies = [
        ViewChange(2, certificate(2), (decided, prepared(0, 4))),
        ViewChange(0, b"", (prepared(0, 1), prepared(1, 3, salt=5, signers=(0, 3)))),
        ViewChange(2, certificate(2), (prepared(1, 3, salt=5, signers=(2, 3)),)),
        ViewChange(0, b"", (prepared(0, 3), prepared(0, 4))),
    ]
    for count in (3, 4):
        for quorum in combinations(bodies, count):
            plan = choose(quorum, GENESIS_HASH, EPOCH)
            assert plan.chosen[3] == decided.digest
            assert plan.base == 2


def test_a_stable_checkpoint_needs_no_certificates_below_it() -> None:
    bodies = [
        ViewChange(4, certificate(4), ()),
        ViewChange(0, b"", tuple(prepared(0, sequence) for sequence in (1, 2, 3, 4))),
        ViewChange(2, certificate(2), (prepared(0, 3),)),
    ]
    plan = choose(bodies, GENESIS_HASH, EPOCH)
    assert (plan.base, plan.top, plan.chosen) == (4, 4, {})


def test_block_certificates_of_other_quorums_prove_the_same_checkpoint() -> None:
    for signers in combinations(range(4), 3):
        body = ViewChange(2, certificate(2, *signers), ())
        assert message_fault(EPOCH, view_change(1, body)) is None
