"""Real nodes that settle on a real chain: four processes, anvil, a gate between each node and anvil, a bound contract.

Everything that a person would do goes through the command line: binding and rotating by `potchain gov`, looking by
`potchain settle`, drawing by `potchain contract`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from click.testing import CliRunner
from live_network import LiveNetwork, live_network
from settlement_chain import COIN, Chain, hexed
from settlement_gate import Gate, gates

from potchain import Contract, SigningKey, checksum_address, keccak256
from potchain.application.settlement.bodies import Withdraw
from potchain.cli.program import potchain
from potchain.cli.testnet_folder import OPERATORS_FOLDER, PASSWORD_FILE
from potchain.genesis import Parameters
from potchain.keyfiles import TEST_ITERATIONS, create_account_file, load_account_key, read_password
from potchain.primitives import uint256
from potchain.transactions import TransactionTypes
from potchain.typed_data import struct_to_json
from potchain_multisig.operator.audit_reading import NodeBooks, read_chain
from potchain_multisig.operator.auditing import Audit, compare
from potchain_multisig.operator.calling import DeployedContract
from potchain_multisig.operator.network import connect

VALIDATORS = 4
THRESHOLD = 3
TREASURE = 10**15
"""Base units that are deposited before anything is withdrawn."""
DEADLINE_S = 90.0
"""For anything that must come about; a busy machine takes its time."""
PAUSE = threading.Event()
"""Never set: nodes and chain are processes of their own, and nothing here could tell of them."""
POLL_S = 0.05
RELAY_GROUP = 4
"""Actions in a row that are one operator's turn."""
PASSWORD = "only for tests"
RICH_WEI = 10 * COIN

T = TypeVar("T")
Json = dict[str, Any]


def eventually(look: Callable[[], T], what: str) -> T:
    """What `look` gives as soon as it is true."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {DEADLINE_S:g} s: {what}")
        PAUSE.wait(POLL_S)


class SettlementNetwork:
    """Four validators, their chain and their contract."""

    def __init__(self, live: LiveNetwork, chain: Chain, gates_: Sequence[Gate] = ()) -> None:
        """Without gates the nodes ask the chain itself."""
        self.live = live
        self.chain = chain
        self.gates = tuple(gates_)
        folder = live.network.folder / OPERATORS_FOLDER
        self.password_file = folder / PASSWORD_FILE
        self.operator_files = [folder / f"{node.name}.json" for node in live.network.nodes]
        password = read_password(self.password_file)
        self.operators = [load_account_key(file, password) for file in self.operator_files]
        self.contract = Contract("multisig", chain.chain_id, bytes(20), bytes(20), 0, 0)
        self._types = TransactionTypes([Withdraw], live.network.genesis().hash)

    # --- making -----------------------------------------------------------------------------------------------------

    def configure(self, **settlement: int) -> None:
        """Write the settlement section of every node; `settlement` are members of it."""
        urls = [gate.url for gate in self.gates] or [self.chain.url] * VALIDATORS
        for node, url, operator in zip(self.live.network.nodes, urls, self.operator_files, strict=True):
            lines = [
                "",
                "[settlement]",
                'backend = "multisig"',
                f'operator_key = "../{OPERATORS_FOLDER}/{operator.name}"',
                f'operator_password_file = "../{OPERATORS_FOLDER}/{PASSWORD_FILE}"',
                *(f"{name} = {value}" for name, value in settlement.items()),
                "",
                "[settlement.multisig]",
                f"endpoints = [{json.dumps(url)}]",
                "call_timeout_ms = 2000",
            ]
            with (node.home / "potchain.toml").open("a") as file:
                file.write("\n".join(lines) + "\n")

    def deploy(self, owners: Sequence[int], threshold: int) -> None:
        """The contract of the operators of these nodes; every operator has coins for gas."""
        keys = sorted((self.operators[index] for index in owners), key=lambda key: key.address)
        self.contract = self.chain.deploy_settlement(keys, threshold)
        for index in range(VALIDATORS):
            self.fill(index)

    def bind(self, owners: Sequence[int], threshold: int) -> None:
        """Through `potchain gov`."""
        words = ["bind-contract", "--scheme", "multisig", "--chain-id", str(self.contract.chain_id)]
        words += ["--contract", checksum_address(self.contract.address), "--from-block", str(self.contract.from_block)]
        self.decide(*words, *self.owner_words(owners, threshold))

    def owner_words(self, owners: Sequence[int], threshold: int) -> list[str]:
        """Options that name the operators of these nodes."""
        words = [word for index in owners for word in ("--owner", checksum_address(self.operators[index].address))]
        return [*words, "--threshold", str(threshold)]

    def decide(self, *proposal: str) -> None:
        """Operator 0 proposes, 1 and 2 agree: a quorum."""
        made = self.run("gov", "propose", *proposal, *self._as_operator(0))
        for index in (1, 2):
            self._wait_proposal(index, str(made["id"]))
            self.run("gov", "vote", str(made["id"]), "--yes", *self._as_operator(index))

    def _wait_proposal(self, index: int, proposal: str) -> None:
        def is_known() -> bool:
            found = self.live.get(index, "/v1/governance/proposals")["proposals"]
            return any(each["id"] == proposal for each in found)

        eventually(is_known, f"node{index} knows the proposal")

    def _as_operator(self, index: int) -> list[str]:
        words = ["--key", str(self.operator_files[index]), "--password-file", str(self.password_file)]
        return [*words, "--wait", "--url", self.live.urls[index]]

    def fill(self, index: int, amount_wei: int = RICH_WEI) -> None:
        """Set the balance of a relay account."""
        self.chain.rpc("anvil_setBalance", hexed(self.operators[index].address), hex(amount_wei))

    # --- money ------------------------------------------------------------------------------------------------------

    def deposit(self, account: bytes, amount: int) -> Json:
        """On the chain, mined at once; its receipt."""
        return self.chain.deposit(self.contract, account, amount)

    def withdraw(self, sender: int, amount: int, node: int = 0) -> str:
        """On the ledger, durable; the transaction's id."""
        answer = self.live.submitted(node, self.withdrawal(sender, amount))
        assert answer["receipt"]["status"] == "ok", answer
        return str(answer["id"])

    def withdrawal(self, sender: int, amount: int) -> Json:
        """With the sender's next nonce, as `POST /v1/transactions` takes it."""
        key = self.live.keys[sender]
        nonce = self.live.nonces[key.address]
        self.live.nonces[key.address] += 1
        body = Withdraw(key.address, nonce, uint256(10), 0, uint256(amount))
        signature = self._types.sign(body, key).signature
        return {"kind": "Withdraw", "message": struct_to_json(body), "signature": "0x" + signature.hex()}

    def balance(self, account: bytes, node: int = 0) -> int:
        """On the ledger."""
        return int(self.live.get(node, f"/v1/accounts/{checksum_address(account)}")["balance"])

    def credited(self, account: bytes) -> int:
        """On the chain, to be drawn."""
        return self.chain.reward(self.contract, account)

    @contextmanager
    def alone(self, index: int) -> Iterator[None]:
        """Only this node's transactions reach the chain."""
        others = [gate for other, gate in enumerate(self.gates) if other != index]
        for gate in others:
            gate.swallows_before = True
        yield
        for gate in others:
            gate.swallows_before = False

    # --- looking ----------------------------------------------------------------------------------------------------

    def run(self, *words: str) -> Any:  # noqa: ANN401 - a JSON document
        """A command of `potchain` with --json, which must succeed; its document."""
        result = CliRunner().invoke(potchain, [*words, "--json"])
        assert (result.exit_code, result.return_value) in ((0, 0), (0, None)), (result.output, result.exception)
        return json.loads(result.stdout)

    def told(self, node: int) -> str:
        """`potchain settle status`, as people see it."""
        result = CliRunner().invoke(potchain, ["settle", "status", "--url", self.live.urls[node]])
        assert result.exit_code == 0, (result.output, result.exception)
        return result.output

    def status(self, node: int) -> Json:
        """GET /v1/settlement."""
        return self.live.get(node, "/v1/settlement")

    def running(self) -> list[int]:
        """Nodes whose process runs."""
        return [index for index, process in enumerate(self.live.processes) if process is not None]

    def wait(self, look: Callable[[Json], object], what: str, nodes: Sequence[int] = ()) -> None:
        """Until the status of each node (all that run by default) is so."""
        for index in nodes or self.running():
            try:
                eventually(lambda index=index: look(self.status(index)), f"node{index}: {what}")  # type: ignore[misc]
            except AssertionError as late:
                raise AssertionError(f"{late}\n{json.dumps(self.status(index), indent=1)}") from None

    def settled(self, actions: int, events: int) -> None:
        """Until every running node knows that many actions executed and events applied, and has nothing to do."""

        def is_settled(status: Json) -> bool:
            counted = (status["next_executed"], status["next_event"]) == (actions, events)
            return counted and not status["actions"] and status["settler"]["state"] == "idle"

        self.wait(is_settled, f"settled with {actions} actions and {events} events")

    def turn_of(self, action_nonce: int) -> int:
        """The node whose operator relays an action first."""
        order = sorted(range(VALIDATORS), key=lambda index: self.operators[index].address)
        return order[action_nonce // RELAY_GROUP % VALIDATORS]

    def node_of(self, account: str) -> int:
        """The node whose operator has that address."""
        return [checksum_address(key.address).lower() for key in self.operators].index(account.lower())

    def pooled(self) -> list[Json]:
        """Transactions that wait on the chain."""
        pending: dict[str, dict[str, Json]] = self.chain.rpc("txpool_content")["pending"]
        return [transaction for account in pending.values() for transaction in account.values()]

    def executions(self) -> list[Json]:
        """Logs of batches that the contract executed, oldest first."""
        topics = [hexed(keccak256(b"BatchExecuted(uint256,uint256,uint256,address)"))]
        asked = {"address": hexed(self.contract.address), "fromBlock": "0x0", "toBlock": "latest", "topics": topics}
        found: list[Json] = self.chain.rpc("eth_getLogs", asked)
        return found

    def sender_of(self, transaction_hash: str) -> int:
        """The node whose relay account sent a transaction."""
        return self.node_of(str(self.chain.rpc("eth_getTransactionByHash", transaction_hash)["from"]))

    # --- the end ----------------------------------------------------------------------------------------------------

    def audited(self, *, paid: int, pending: int = 0) -> Audit:
        """Every node's books against the chain: nothing differs, so many payouts are paid and pending."""
        deployed = DeployedContract(connect(self.chain.url, None), self.contract.address, "multisig")
        found: Audit | None = None
        for index in self.running():
            books = NodeBooks(self.live.urls[index]).read()
            found = compare(books, read_chain(deployed, self.contract.from_block))
            assert not found.differences, found.differences
            assert (found.paid_payouts, found.pending_payouts, found.unseen_actions) == (paid, pending, 0), found
        assert found is not None
        return found

    def is_quiet(self) -> None:
        """Nothing in any node's log that only a bug writes."""
        for node in self.live.network.nodes:
            text = node.log.read_text()
            assert "Traceback" not in text, text[-4_000:]
            assert "a bug" not in text, text[-4_000:]


@contextmanager
def settlement_network(
    folder: Path,
    *,
    owners: Sequence[int] = range(VALIDATORS),
    threshold: int = THRESHOLD,
    parameters: Parameters | None = None,
    treasure: int = TREASURE,
    **settlement: int,
) -> Iterator[SettlementNetwork]:
    """Running, bound, and with `treasure` deposited, for account 19 on the ledger. `settlement`: see `configure`."""
    chosen = {"confirmations": 0, "poll_ms": 100, **settlement}
    with (
        Chain() as chain,
        gates(chain.url, VALIDATORS) as opened,
        live_network(folder, VALIDATORS, parameters) as live,
    ):
        network = SettlementNetwork(live, chain, opened)
        network.configure(**chosen)
        network.deploy(owners, threshold)
        live.start()
        network.bind(owners, threshold)
        if treasure:
            network.deposit(live.keys[-1].address, treasure)
            chain.mine(chosen["confirmations"])
            network.wait(lambda status: status["next_event"] == 1, "the first deposit is credited")
        yield network


def keystore(folder: Path, key: SigningKey) -> list[str]:
    """Options that sign with a key."""
    file, password = folder / f"{key.address.hex()}.json", folder / "password.txt"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    create_account_file(file, key, PASSWORD, iterations=TEST_ITERATIONS)
    return ["--key", str(file), "--password-file", str(password)]
