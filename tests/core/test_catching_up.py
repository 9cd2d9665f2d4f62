"""Whom to ask for blocks and certificates, and when."""

import msgspec
from core_network import make_genesis

from potchain.replica.catching_up import REQUEST_TIMEOUT_NS, USELESS_NS, CatchUp
from potchain.replica.epochs import KnownEpochs
from potchain.replica.wire import CERTIFICATES_MAX, SYNC_BLOCKS_MAX, FetchBlocks, FetchCertificates, PeerProgress

FAR = 4
GENESIS = make_genesis(validators=4, checkpoint_interval=FAR, log_window=2 * FAR)
FOUR = GENESIS.first_epoch
THREE = msgspec.structs.replace(FOUR, members=FOUR.members[:3])
ME, A, B, STRANGER = FOUR.ids


def at(height: int) -> PeerProgress:
    return PeerProgress(height, height, 0)


def catch_up() -> CatchUp:
    return CatchUp(ME, KnownEpochs([THREE]))


def test_far_behind_asks_at_once_and_near_only_when_stuck() -> None:
    each = catch_up()
    assert each.blocks_wanted(0, 0, stuck=True) is None, "nobody is ahead"
    each.heard(A, at(FAR))
    assert not each.is_behind(0)
    assert each.blocks_wanted(0, 0, stuck=False) is None
    assert each.blocks_wanted(0, 0, stuck=True) == (A, FetchBlocks(1, SYNC_BLOCKS_MAX))
    each = catch_up()
    each.heard(A, at(FAR + 1))
    assert each.is_behind(0)
    assert each.blocks_wanted(0, 0, stuck=False) == (A, FetchBlocks(1, SYNC_BLOCKS_MAX))


def test_one_request_at_a_time_until_it_is_answered_or_late() -> None:
    each = catch_up()
    each.heard(A, at(100))
    each.heard(B, at(100))
    first = each.blocks_wanted(0, 0, stuck=False)
    assert first is not None
    assert each.blocks_wanted(0, REQUEST_TIMEOUT_NS - 1, stuck=True) is None
    second = each.blocks_wanted(0, REQUEST_TIMEOUT_NS, stuck=False)
    assert second is not None
    assert {first[0], second[0]} == {A, B}, "the next peer is asked"
    each.answered(first[0], REQUEST_TIMEOUT_NS, useful=True)
    assert each.blocks_wanted(0, REQUEST_TIMEOUT_NS, stuck=False) is None, "that was not the one asked last"
    each.answered(second[0], REQUEST_TIMEOUT_NS, useful=True)
    assert each.blocks_wanted(64, REQUEST_TIMEOUT_NS, stuck=False) is not None


def test_a_peer_that_has_nothing_to_give_is_left_out_for_a_while() -> None:
    each = catch_up()
    each.heard(A, at(2**64 - 1))
    assert each.blocks_wanted(0, 0, stuck=True) == (A, FetchBlocks(1, SYNC_BLOCKS_MAX))
    each.answered(A, 1, useful=False)
    assert each.blocks_wanted(0, 2, stuck=True) is None
    each.heard(B, at(50))
    wanted = each.blocks_wanted(0, 3, stuck=True)
    assert wanted is not None
    assert wanted[0] == B
    each.answered(B, 4, useful=True)
    each.gone(B)
    assert each.blocks_wanted(0, 1 + USELESS_NS, stuck=True) is not None, "and then tried again"


def test_one_liar_makes_nobody_behind() -> None:
    four = CatchUp(ME, KnownEpochs([FOUR]))
    four.heard(A, at(2**64 - 1))
    assert (four.credible_height, four.is_behind(0)) == (0, False)
    four.heard(B, at(9))
    assert (four.credible_height, four.is_behind(0)) == (9, True)


def test_catching_up_goes_on_until_the_node_is_level() -> None:
    each = catch_up()
    each.heard(A, at(FAR))
    assert each.blocks_wanted(0, 0, stuck=True) is not None
    each.answered(A, 1, useful=True)
    assert each.blocks_wanted(2, 2, stuck=False) is not None, "begun is not half done"
    each.answered(A, 3, useful=True)
    assert each.blocks_wanted(FAR, 4, stuck=False) is None
    each.heard(A, at(FAR + 1))
    assert each.blocks_wanted(FAR, 5, stuck=False) is None, "level once, it waits until it is stuck again"


def test_a_peer_that_is_gone_is_neither_asked_nor_waited_for() -> None:
    each = catch_up()
    each.heard(A, at(100))
    assert each.blocks_wanted(0, 0, stuck=False) is not None
    each.gone(A)
    assert each.best_height == 0
    each.heard(B, at(50))
    wanted = each.blocks_wanted(0, 1, stuck=False)
    assert wanted is not None
    assert wanted[0] == B


def test_strangers_count_only_while_too_few_validators_are_heard_and_own_echo_never() -> None:
    each = CatchUp(ME, KnownEpochs([THREE]))
    each.heard(ME, at(1_000))
    assert each.blocks_wanted(0, 0, stuck=True) is None
    each.heard(STRANGER, at(1_000))
    assert each.credible_height == 1_000, "who has none of the validators to ask follows whom he is connected with"
    each.heard(A, at(7))
    assert each.credible_height == 7


def test_who_does_not_vote_follows_block_by_block() -> None:
    each = CatchUp(STRANGER, KnownEpochs([THREE]))
    each.heard(A, at(1))
    assert each.blocks_wanted(0, 0, stuck=False) == (A, FetchBlocks(1, SYNC_BLOCKS_MAX))
    each.answered(A, 1, useful=True)
    assert each.blocks_wanted(1, 1, stuck=False) is None


def test_only_peers_that_have_what_is_lacking_are_asked() -> None:
    each = catch_up()
    each.heard(A, at(5))
    each.heard(B, at(9))
    for now in range(4):
        wanted = each.blocks_wanted(5, now, stuck=True)
        assert wanted is not None
        assert wanted[0] == B
        each.answered(B, now, useful=True)


def test_certificates_are_asked_for_executed_blocks_only() -> None:
    each = catch_up()
    assert each.certificates_wanted(0, 5, 0) is None
    each.heard(A, at(3))
    assert each.certificates_wanted(3, 3, 0) is None
    assert each.certificates_wanted(3, 5, 0) is None, "nobody has more"
    assert each.certificates_wanted(2, 5, 0) is None, "some came since the last look"
    assert each.certificates_wanted(2, 5, 0) == (A, FetchCertificates(3, 3))
    each.heard(A, at(1_000))
    assert each.certificates_wanted(0, 1_000, 0) is None
    assert each.certificates_wanted(0, 1_000, 0) == (A, FetchCertificates(1, CERTIFICATES_MAX))
