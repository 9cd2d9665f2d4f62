"""`potchain contract claim`: from a ledger's root, through the file of `settle claim-proof`, to coins in a wallet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from api_browser import on_loop, serving
from api_node import PaperNode
from click.testing import CliRunner
from core_network import key
from settlement_chain import Chain
from settlement_ledger import CHAIN_ID
from settlement_operator import PASSWORD, RICH, Both

from potchain import ConfigError, SettlementError, checksum_address
from potchain.application.settlement.bodies import Withdraw
from potchain.cli.program import potchain
from potchain.keyfiles import TEST_ITERATIONS, create_account_file
from potchain.primitives import uint256
from potchain.settlement import Action
from potchain_multisig.operator.commands import contract as contract_group

CAROL = checksum_address(key("carol").address)
OTHER = "0x" + "ab" * 32


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with Chain(CHAIN_ID) as running:
        yield running


class Payee:
    """Carol, whom two roots promised 9 and 4, and who has a keystore, coins for gas and the file of her claim."""

    def __init__(self, chain: Chain, folder: Path) -> None:
        self.both = Both(chain)
        self.file = folder / "claim.json"
        self.key = folder / "carol.json"
        create_account_file(self.key, key("carol"), PASSWORD, iterations=TEST_ITERATIONS)
        chain.devnet.give(CAROL, RICH)
        self.both.ledger.set_term("root_min", 2)
        self._nonce = 0
        self.promise(9)

    def promise(self, amount: int) -> None:
        """An executed root for Carol and somebody else."""
        for name, each in (("carol", amount), ("bob", 10)):
            self.both.ledger.collect(key(name), Withdraw, uint256(each), fee=10)
        self.both.ledger.run()
        while self._nonce < self.both.ledger.counters.next_action:
            self.both.relay(self._nonce)
            self._nonce += 1

    async def fetch(self) -> dict[str, Any]:
        """`settle claim-proof`."""
        async with serving(PaperNode(self.both.ledger.chain)) as browser:
            words = ["settle", "claim-proof", CAROL, "--out", str(self.file), "--url", browser.url]
            done = await asyncio.to_thread(CliRunner().invoke, potchain, words, standalone_mode=False)
        assert done.exception is None, done.exception
        written: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        return written

    def write(self, **members: object) -> None:
        """The file with other members."""
        text = json.loads(self.file.read_text(encoding="utf-8"))
        self.file.write_text(json.dumps(text | members), encoding="utf-8")

    def run(self, *words: str) -> Any:  # noqa: ANN401 - a JSON document
        """A command of the payee, which must succeed."""
        done = CliRunner().invoke(contract_group, self._words(*words), standalone_mode=False)
        assert done.exception is None, (done.exception, done.output)
        return json.loads(done.stdout)

    def fails(self, *words: str) -> Exception:
        """One that must not."""
        done = CliRunner().invoke(contract_group, self._words(*words), standalone_mode=False)
        assert isinstance(done.exception, SettlementError | ConfigError), (done.exception, done.output)
        return done.exception

    def claim(self, *words: str) -> Any:  # noqa: ANN401
        return self.run("claim", "--proof", str(self.file), *words)

    def refused(self, *words: str) -> str:
        """Why the claim is not made; nothing is sent."""
        height = self.both.chain.height()
        fault = str(self.fails("claim", "--proof", str(self.file), *words))
        assert self.both.chain.height() == height
        return fault

    def _words(self, command: str, *words: str) -> list[str]:
        where = ["--contract", checksum_address(self.both.contract.address), "--network", self.both.chain.url]
        return [command, *where, "--key", str(self.key), "--json", *words]


@pytest.fixture
def payee(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Payee:
    monkeypatch.setenv("POTCHAIN_KEY_PASSWORD", PASSWORD)
    for variable in ("POTCHAIN_NETWORK", "POTCHAIN_RPC_URL", "POTCHAIN_DEPLOYMENT", "POTCHAIN_URL", "POTCHAIN_NODE"):
        monkeypatch.delenv(variable, raising=False)
    return Payee(chain, tmp_path)


@on_loop
async def test_a_roots_payee_claims_and_then_withdraws(payee: Payee) -> None:
    assert len((await payee.fetch())["proof"]) == 1
    empty = str(payee.fails("withdraw"))
    assert f"has nothing credited to {CAROL}" in empty
    assert f"`potchain settle claim-proof {CAROL} --out claim.json`, then `potchain contract claim" in empty
    claimed = payee.claim()
    assert (claimed["account"], claimed["amount"], claimed["rewards"]) == (CAROL, "9", "9")
    drawn = payee.run("withdraw")
    assert (drawn["amount"], drawn["rewards_left"]) == ("9", "0")
    payee.promise(4)
    assert (await payee.fetch())["cumulative"] == "13"
    assert payee.claim()["amount"] == "4"  # only what is new
    assert payee.run("withdraw", "--amount", "4")["amount"] == "4"
    audited = json.loads((await payee.both.audit("--json")).output)
    assert (audited["equal"], audited["claimed"]) == (True, "13")


@on_loop
async def test_a_dry_run_of_a_claim_sends_nothing(payee: Payee, monkeypatch: pytest.MonkeyPatch) -> None:
    await payee.fetch()
    monkeypatch.setenv("POTCHAIN_KEY_PASSWORD", "wrong")
    height = payee.both.chain.height()
    plan = payee.claim("--dry-run")
    assert (plan["dry_run"], [each["what"] for each in plan["transactions"]]) == (True, ["claim"])
    assert payee.both.chain.height() == height


@on_loop
async def test_what_the_contract_refuses_is_said_in_words(payee: Payee) -> None:
    await payee.fetch()
    payee.claim()
    again = payee.refused()
    assert again.startswith("would_revert: claim: the contract refuses: NothingToClaim(")
    assert "draw it with `potchain contract withdraw`" in again
    payee.promise(4)
    assert "BadProof(" in payee.refused()
    assert "write the proof anew" in payee.refused()
    await payee.fetch()
    payee.both.send(Action(nonce=payee.both.ledger.counters.next_action, epoch=0, kind="pause", height=0, paused=True))
    assert payee.refused().startswith("paused: claim: the contract refuses: Paused(")


@on_loop
async def test_a_proof_for_another_contract_or_chain_is_refused(payee: Payee) -> None:
    await payee.fetch()
    payee.write(chain_id=56)
    assert payee.refused().startswith(f"wrong_chain: {payee.file} is of chain id 56, and ")
    payee.write(chain_id=CHAIN_ID, contract=CAROL)
    assert payee.refused().startswith(f"wrong_contract: {payee.file} is for contract {CAROL}, and this is 0x")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"account": "0x12"}, "an address is 0x and 40 hex digits, not '0x12'"),
        ({"account": checksum_address(key("eve").address)}, "do not lead to its root"),
        ({"contract": 7}, "at `$.contract`"),
        ({"cumulative": "1000"}, "do not lead to its root"),
        ({"cumulative": 9}, "at `$.cumulative`"),
        ({"cumulative": "-9"}, "at `$.cumulative`"),
        ({"cumulative": "0"}, "cumulative is 0, and must be 1 to 2^256 - 1"),
        ({"cumulative": "9" * 78}, "and must be 1 to 2^256 - 1"),
        ({"proof": ["0x12"]}, "at `$.proof[0]`"),
        ({"proof": [OTHER] * 65}, "at `$.proof`"),
        ({"proof": []}, "do not lead to its root"),
        ({"root": OTHER}, "do not lead to its root"),
        ({"chain_id": -1}, "at `$.chain_id`"),
    ],
)
@on_loop
async def test_rubbish_in_the_file_is_named(payee: Payee, members: dict[str, object], message: str) -> None:
    await payee.fetch()
    payee.write(**members)
    fault = payee.refused()
    assert fault.startswith(f"{payee.file} is no claim proof: ")
    assert message in fault


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff\xfe", b"{" * 100_000])
def test_a_file_that_is_none_is_named(payee: Payee, text: bytes) -> None:
    payee.file.write_bytes(text)
    assert payee.refused().startswith(f"{payee.file} is no claim proof: ")
