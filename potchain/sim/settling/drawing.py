"""The Layer 2 of a plan, drawn: chain, contract, terms, what people and operators do there, and what goes wrong.

Reorganisations are no deeper than the confirmations, since Layer 2 promises nothing beyond; everything else ends before
the plan heals. Enough owners are honest that actions get their signatures, and too few are not to get one alone.
"""

from __future__ import annotations

from potchain.primitives import NS_PER_MS, NS_PER_S
from potchain.sim.draft import FIRST_FAULT_NS, Draft
from potchain.sim.plan import (
    Censor,
    Decision,
    EmptyPools,
    LagEndpoint,
    Layer2,
    Layer2Liar,
    LoseAnswers,
    LoseEndpoint,
    RaiseFees,
    Reorganise,
    StallBlocks,
)
from potchain.sim.settling.lying import BEHAVIOURS

TERMS = (
    ("batch_max", (2, 3, 100)), ("root_min", (0, 2, 4)), ("open_max", (1, 2, 8)), ("relay_fee", (1, 7)),
    ("root_accounts_max", (0, 2)),
)  # fmt: skip
"""What operators may change, and to what."""
TROUBLES = (
    "reorganise", "reorganise", "reorganise", "way", "way", "censor", "fees", "fees", "stall", "pools", "pools",
)  # fmt: skip
LONGEST_NS = 4 * NS_PER_S
FEES_WEI = (40, 99, 500)
"""The last is more than relayers pay."""


def draw_layer2(draft: Draft) -> None:
    """Everything but the liars and the troubles."""
    dice = draft.dice
    faults = draft.budget
    quorum = draft.nodes - faults
    first_s = dice.choice((0, 0, 2, 5))
    draft.layer2 = Layer2(
        block_ns=dice.choice((150, 300, 600)) * NS_PER_MS,
        confirmations=dice.choice((1, 2, 4)),
        answer_ns=dice.choice((2, 20, 80)) * NS_PER_MS,
        relay_ahead=dice.choice((1, 1, 4)),
        relay_turn_ms=dice.choice((1_000, 2_500, 6_000)),
        stuck_after_ms=dice.choice((1_500, 3_000)),
        threshold=dice.randrange(faults + 1, quorum + 1),
        bind_ns=dice.choice((100, 300, 2_000)) * NS_PER_MS,
        decisions=_decisions(draft, faults),
        holders=dice.choice((1, 3, 5)),
        withdrawals=dice.choice((3, 6, 10)),
        deposits=dice.choice((0, 3, 6)),
        until_ns=dice.choice((2, 4, 6)) * NS_PER_S,
        backed_ns=first_s * NS_PER_S,
    )


def draw_liar(draft: Draft) -> None:
    """An operator lies, if one more may."""
    node = draft.spoil()
    if node is None or draft.layer2 is None:
        return
    names = sorted(BEHAVIOURS)
    chosen = draft.dice.sample(names, draft.dice.choice((1, 2, 3)))
    draft.liars.append(Layer2Liar(node=node, behaviours=tuple(sorted(chosen))))


def draw_trouble(draft: Draft) -> None:
    """One thing that goes wrong on Layer 2."""
    dice, options = draft.dice, draft.layer2
    assert options is not None
    what = dice.choice(TROUBLES)
    at_ns = dice.randrange(FIRST_FAULT_NS, draft.end_ns - 500 * NS_PER_MS)
    until_ns = draft.until(at_ns, LONGEST_NS)
    if what == "reorganise":
        depth = 1 + dice.randrange(options.confirmations)
        waits = "mined" if draft.chance(60) else ""
        draft.faults.append(Reorganise(at_ns=at_ns, depth=depth, forget=draft.chance(40), waits_for=waits))
    elif what == "way":
        _draw_way(draft, at_ns, until_ns)
    elif what == "censor":
        draft.faults.append(Censor(at_ns=at_ns, node=draft.node(), until_ns=until_ns))
    elif what == "fees":
        fee_wei, waits = dice.choice(FEES_WEI), "pending" if draft.chance(70) else ""
        draft.faults.append(RaiseFees(at_ns=at_ns, fee_wei=fee_wei, until_ns=until_ns, waits_for=waits))
    elif what == "stall":
        draft.faults.append(StallBlocks(at_ns=at_ns, until_ns=until_ns))
    else:
        draft.faults.append(EmptyPools(at_ns=at_ns, waits_for="pending" if draft.chance(80) else ""))


def _draw_way(draft: Draft, at_ns: int, until_ns: int) -> None:
    """Some nodes, or all, are badly served."""
    what, everybody, one = draft.dice.randrange(3), draft.chance(25), draft.node()
    for node in range(draft.nodes):
        if node == one or everybody:
            if what == 0:
                draft.faults.append(LoseEndpoint(at_ns=at_ns, node=node, until_ns=until_ns))
            elif what == 1:
                draft.faults.append(LoseAnswers(at_ns=at_ns, node=node, until_ns=until_ns))
            else:
                blocks = 1 + draft.dice.randrange(6)
                draft.faults.append(LagEndpoint(at_ns=at_ns, node=node, blocks=blocks, until_ns=until_ns))


def _decisions(draft: Draft, faults: int) -> tuple[Decision, ...]:
    dice = draft.dice
    decisions: list[Decision] = []
    for _ in range(dice.randrange(3)):
        term, values = dice.choice(TERMS)
        decisions.append(Decision(at_ns=_when(draft), kind="term", term=term, value=dice.choice(values)))
    for _ in range(dice.choice((0, 1, 1, 2))):
        # Whoever becomes faulty is among them: so many are needed that f of them are not enough, and the others are.
        size = dice.randrange(min(draft.nodes, 2 * faults + 1), draft.nodes + 1)
        owners = tuple(sorted(dice.sample(range(draft.nodes), size)))
        threshold = dice.randrange(faults + 1, size - faults + 1)
        decisions.append(Decision(at_ns=_when(draft), kind="rotate", owners=owners, value=threshold))
    decisions.sort(key=lambda each: each.at_ns)
    if draft.chance(40):
        place = dice.randrange(len(decisions) + 1)
        at_ns = _when(draft)
        later_ns = min(at_ns + dice.randrange(2 * NS_PER_S), draft.end_ns)
        decisions[place:place] = [Decision(at_ns=at_ns, kind="pause"), Decision(at_ns=later_ns, kind="resume")]
    return tuple(decisions)


def _when(draft: Draft) -> int:
    return draft.dice.randrange(500 * NS_PER_MS, draft.end_ns)
