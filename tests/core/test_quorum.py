"""`Quorum` against a deliberately simple definition by counting, for every n from 1 to 200."""

from __future__ import annotations

from itertools import combinations

import pytest

from potchain.consensus.quorum import Quorum

SIZES = range(1, 201)


def faults_by_counting(n: int) -> int:
    """The most faults that n members tolerate: n > 3f (OSDI'99 section 3)."""
    return max(f for f in range(n) if n > 3 * f)


def quorum_by_counting(n: int) -> int:
    """The least size at which two sets always share more members than can be faulty.

    Two sets of q out of n share at least 2q - n members: the second can avoid only the n - q outside the first.
    """
    return min(q for q in range(1, n + 1) if q - (n - q) > faults_by_counting(n))


@pytest.mark.parametrize("n", SIZES)
def test_thresholds_are_those_of_counting(n: int) -> None:
    quorum = Quorum(n)
    assert quorum.faults_max == faults_by_counting(n)
    assert quorum.quorum == quorum_by_counting(n)
    assert quorum.weak_quorum == quorum.faults_max + 1


@pytest.mark.parametrize("n", SIZES)
def test_any_two_quorums_share_a_correct_member_and_the_correct_ones_can_form_one(n: int) -> None:
    quorum = Quorum(n)
    assert 2 * quorum.quorum - n >= quorum.faults_max + 1
    assert quorum.quorum <= n - quorum.faults_max
    assert quorum.weak_quorum <= quorum.quorum


@pytest.mark.parametrize("n", range(1, 8))
def test_small_sets_are_tried_out_whole(n: int) -> None:
    """Every two quorums of every small set, member by member."""
    size, faults = Quorum(n).quorum, Quorum(n).faults_max
    quorums = [set(chosen) for chosen in combinations(range(n), size)]
    assert all(len(first & second) > faults for first in quorums for second in quorums)
    fewer = [set(chosen) for chosen in combinations(range(n), size - 1)]
    assert any(len(first & second) <= faults for first in fewer for second in fewer), "one member less would not do"


@pytest.mark.parametrize("n", [4, 7, 10, 100, 199])
def test_it_is_two_thirds_and_one_where_the_paper_says_so(n: int) -> None:
    quorum = Quorum(n)
    assert n == 3 * quorum.faults_max + 1
    assert quorum.quorum == 2 * quorum.faults_max + 1


def test_two_thirds_rounded_down_forks() -> None:
    """n // 3 * 2, as the system before this one counted: two disjoint-in-correct quorums exist for many sizes."""
    forking = [n for n in SIZES if 2 * (n // 3 * 2) - n < faults_by_counting(n) + 1]
    assert {2, 5, 8, 11} <= set(forking)
    assert all(n in forking for n in SIZES if n % 3 == 2)


@pytest.mark.parametrize("n", [0, -1])
def test_an_empty_set_has_no_quorum(n: int) -> None:
    with pytest.raises(ValueError, match="at least one member"):
        Quorum(n)
