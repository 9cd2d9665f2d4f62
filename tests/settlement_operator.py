"""What an operator has: a folder of keystores beside a real chain, with commands run in this process; a ledger and its
contract, with a settler's work done by hand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from api_browser import serving
from api_node import PaperNode
from click.testing import CliRunner, Result
from core_network import key as named_key
from settlement_chain import Chain, Json, key_of, owner_keys
from settlement_ledger import RELAYER
from settlement_ledger import Books as Ledger

from potchain import BatchSeen, DepositSeen, RootSeen, SigningKey, checksum_address, cli
from potchain.application.settlement import records
from potchain.application.settlement.bodies import ObserveL2
from potchain.application.settlement.roots import root_claim
from potchain.codec import Canonical, encode
from potchain.keyfiles import TEST_ITERATIONS, create_account_file
from potchain.primitives import uint, uint256
from potchain.settlement import Action, Contract, multisig_digest
from potchain.settlement.events import EVENT_TYPES
from potchain_multisig.calls import Interface, load_artifact
from potchain_multisig.operator.audit_reading import NodeBooks, read_chain
from potchain_multisig.operator.auditing import Books, ChainSide
from potchain_multisig.operator.calling import DeployedContract
from potchain_multisig.operator.commands import contract as contract_group
from potchain_multisig.operator.devnet import Devnet
from potchain_multisig.operator.network import connect

PASSWORD = "only for tests"
RICH = 10**21
BOTH_FUNDS = 10_000
HASHES = ("blockHash", "transactionHash")


class Desk:
    """Where the operator sits: runs `potchain contract ...` against one chain."""

    def __init__(self, folder: Path, chain: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.chain = chain
        self._capsys = capsys

    def key(self, key: SigningKey, name: str, *, balance: int = RICH) -> str:
        """A keystore of that key, with coins; its path."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            create_account_file(path, key, PASSWORD, iterations=TEST_ITERATIONS)
        self.chain.give(checksum_address(key.address), balance)
        return str(path)

    def owners(self, count: int) -> list[str]:
        """Keystores of owners, sorted by address, in a folder `owners`."""
        (self.folder / "owners").mkdir(exist_ok=True)
        return [self.key(key, f"owners/{number:02d}") for number, key in enumerate(owner_keys(count))]

    def run(self, *words: str, code: int = 0) -> Any:  # noqa: ANN401 - a JSON document
        """A command with --json that must end with that code; its document, or the error's line."""
        ended = cli.main(["contract", *words, "--json"])
        out, err = self._capsys.readouterr()
        assert ended == code, (words, err)
        return json.loads(out) if code == 0 else err

    def on(self, *words: str, code: int = 0) -> Any:  # noqa: ANN401
        """The same, with the chain's address."""
        return self.run(*words, "--network", self.chain.url, code=code)

    def on_differs(self, *messages: str) -> None:
        """`info` must end with code 1 and say these differences."""
        assert cli.main(["contract", "info", "--network", self.chain.url, "--json"]) == 1
        found = json.loads(self._capsys.readouterr().out)["differences"]
        assert all(any(message in each for each in found) for message in messages), found

    def deploy(self, count: int = 4, threshold: int = 3, *more: str) -> Any:  # noqa: ANN401
        """A contract of the first owners; writes deployment.json."""
        self.owners(count)
        words = ("--owners", "owners", "--threshold", str(threshold), "--key", self.key(key_of("funder"), "funder"))
        return self.on("deploy", *words, *more)


@contextmanager
def desk_at(folder: Path, chain: Chain, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """A fresh folder as the working directory, the password in the environment, and the chain as it was afterwards."""
    snapshot = chain.rpc("evm_snapshot")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("POTCHAIN_KEY_PASSWORD", PASSWORD)
        for variable in ("POTCHAIN_NETWORK", "POTCHAIN_RPC_URL", "POTCHAIN_DEPLOYMENT"):
            patch.delenv(variable, raising=False)
        yield Desk(folder, chain.devnet, capsys)
    chain.rpc("evm_revert", snapshot)


class Both:
    """A ledger and its contract, with a settler's work done by hand."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.ledger = Ledger()
        self.interface = Interface(load_artifact("PotSettlement").abi)
        self.rebind()
        self.deposit("alice", BOTH_FUNDS)

    def rebind(self) -> None:
        """Bind a new contract."""
        owners = sorted(self.ledger.operators, key=lambda owner: owner.address)
        self.contract: Contract = self.chain.deploy_settlement(owners, 3)
        self.ledger.bind(self.contract.address, owners)

    def seen(self, event: Canonical, receipt: Json) -> None:
        """Operators vote for what they saw."""
        kind = next(name for name, each in EVENT_TYPES.items() if type(event) is each)
        place = (int(receipt["blockNumber"], 16), *(bytes.fromhex(receipt[name][2:]) for name in HASHES), 0)
        for voter in self.ledger.operators[:3]:
            self.ledger.collect(voter, ObserveL2, self.ledger.next_event, kind, encode(event), *place)
        self.ledger.run()
        self.ledger.next_event += 1

    def deposit(self, name: str, amount: int) -> None:
        receipt = self.chain.deposit(self.contract, named_key(name).address, amount)
        self.seen(DepositSeen(named_key(name).address, uint256(amount)), receipt)

    def relay(self, nonce: int, *, tell: bool = True) -> Json:
        """Sign an open action of the ledger, send it, and say what came of it."""
        record = records.action(self.ledger.state, nonce)
        assert record is not None
        receipt = self.send(record.action)
        self.ledger.sign(nonce)
        if tell:
            event: Canonical = BatchSeen(nonce, record.total, RELAYER)
            if record.action.kind == "root":
                event = RootSeen(nonce, record.action.root, record.total, RELAYER)
            self.seen(event, receipt)
        return receipt

    def send(self, action: Action) -> Json:
        """An action, signed by three owners whatever it says."""
        digest = multisig_digest(self.contract, action)
        owners = sorted(self.ledger.operators, key=lambda owner: owner.address)[:3]
        signatures = b"".join(owner.sign_digest(digest) for owner in owners)
        accounts = [entry.account for entry in action.entries]
        amounts = [uint(entry.amount) for entry in action.entries]
        if action.kind == "root":
            data = self.interface.encode("commitRoot", action.nonce, action.root, action.total, signatures)
        elif action.kind == "pause":
            data = self.interface.encode("setPaused", action.nonce, bool(action.paused), signatures)
        else:
            data = self.interface.encode("executeBatch", action.nonce, accounts, amounts, signatures)
        return self.chain.transact(self.contract.address, data)

    def claim(self, name: str) -> Json:
        """By the branch that the ledger serves."""
        claim = root_claim(self.ledger.state, named_key(name).address)
        assert claim is not None
        data = self.interface.encode("claim", claim.account, claim.cumulative, list(claim.branch))
        return self.chain.transact(self.contract.address, data)

    async def audit(self, *words: str) -> Result:
        """`potchain contract audit` on both."""
        async with serving(PaperNode(self.ledger.chain)) as browser:
            asked = ["audit", "--url", browser.url, "--network", self.chain.url, *words]
            return await asyncio.to_thread(CliRunner().invoke, contract_group, asked, standalone_mode=False)

    async def sides(self) -> tuple[Books, ChainSide]:
        """What the command compares."""
        async with serving(PaperNode(self.ledger.chain)) as browser:
            books = await asyncio.to_thread(NodeBooks(browser.url).read)
        deployed = DeployedContract(connect(self.chain.url, None), self.contract.address, "multisig")
        return books, read_chain(deployed, self.contract.from_block)
