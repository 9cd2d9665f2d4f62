"""The gas of a reward in every way, measured on a chain made for it, beside what the seed needed.

The chain is a fresh anvil under cancun rules and the keys are derived from their names, so the figures are the same at
every run. "existing": an account that was credited before and has not withdrawn everything since: who leaves one base
unit keeps the slot in use, and the next credit cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from potchain import Action, Contract, Entry, SigningKey, checksum_address, keccak256, multisig_digest, uint256
from potchain_multisig.operator.calling import DeployedContract
from potchain_multisig.operator.deploying import Arguments, plan_deployment
from potchain_multisig.operator.devnet import Devnet, DevnetOptions, find_anvil
from potchain_multisig.operator.network import COIN, FeeOptions, Network, connect
from potchain_multisig.operator.sending import TIMEOUT_S, Plan, Receipt, Sender, carry_out

OWNERS: Final = 30
THRESHOLD: Final = 3
BATCH: Final = 100
LEAVES: Final = 1_000
REWARD: Final = 10**6
BALANCE: Final = 1_000 * COIN

Say = Callable[[str], None]


class SeedRow(msgspec.Struct, frozen=True):
    """A function of the seed's contract, as its README measures it: 3 of 30 owners."""

    what: str
    gas: int
    times: str
    """How often per reward."""


SEED_ROWS: Final = (
    SeedRow("deploy (30 owners)", 2_169_081, "once"),
    SeedRow("proposeTransaction", 86_875, "1"),
    SeedRow("confirmTransaction", 45_371, "3"),
    SeedRow("executeTransaction", 161_888, "1"),
    SeedRow("one reward", 384_876, "5 transactions"),
)
SEED_REWARD: Final = 384_876
SEED_DEPLOY: Final = 2_169_081


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One measured figure."""

    what: str
    seed: int | None
    """None: the seed cannot do it."""
    gas: int
    """Of shares of a transaction, rounded up."""
    allowed: int | None = None
    """What the project promises; None: nothing."""


def measure(say: Say) -> tuple[Row, ...]:
    """Start a chain, deploy, pay in every way, end the chain. Raises as `Devnet` and `Sender`."""
    with Devnet(find_anvil(), DevnetOptions(port=0)) as chain:
        say(f"measuring at {chain.url}, {THRESHOLD} of {OWNERS} owners")
        bench = Bench(chain)
        compatible = f"compatible path: propose, {THRESHOLD} confirm"
        existing, new = bench.compatible()
        return (
            *bench.rewards(),
            *bench.batches(),
            Row(what=f"per reward, Merkle commit of {LEAVES:,}", seed=None, gas=bench.root(), allowed=60),
            Row(what=f"{compatible}, existing recipient", seed=SEED_REWARD, gas=existing, allowed=170_000),
            Row(what=f"{compatible}, new recipient", seed=SEED_REWARD, gas=new),
            Row(what="withdraw", seed=None, gas=bench.withdraw(), allowed=32_000),
            Row(what=f"deploy ({OWNERS} owners)", seed=SEED_DEPLOY, gas=bench.deploy_gas, allowed=2_000_000),
        )  # fmt: skip


class Bench:
    """A contract with deposits, and its owners' keys."""

    def __init__(self, chain: Devnet, threshold: int = THRESHOLD) -> None:
        self._threshold = threshold
        self._owners = sorted((_key(f"owner {number}") for number in range(OWNERS)), key=lambda key: key.address)
        self._payee = _key("payee")
        for key in (*self._owners[:THRESHOLD], self._payee):
            chain.give(checksum_address(key.address), BALANCE)
        self._network: Network = connect(chain.url, None)
        self._senders = [Sender(self._network, key.address, key, FeeOptions(), _silent) for key in self._owners]
        addresses = tuple(checksum_address(key.address) for key in self._owners)
        deployed = self._send(0, plan_deployment(
            self._senders[0], "multisig", Arguments(owners=addresses, threshold=threshold)
        ))  # fmt: skip
        self.deploy_gas = deployed.gas_used
        self._contract = self._opened(deployed)
        self._nonce = 0
        self._batch([_account("first")])  # slots that the contract writes for the first time ever

    def rewards(self) -> tuple[Row, Row]:
        """One reward, one transaction: to an existing recipient, and to a new one."""
        payee = [self._payee.address]
        new = self._batch(payee)
        existing = self._batch(payee)
        return (
            Row(what="one reward, existing recipient", seed=SEED_REWARD, gas=existing, allowed=58_000),
            Row(what="one reward, new recipient", seed=SEED_REWARD, gas=new, allowed=75_000),
        )

    def batches(self) -> tuple[Row, Row]:
        """A share of a batch."""
        payees = sorted(_account(f"payee {number}") for number in range(BATCH))
        new = self._batch(payees)
        existing = self._batch(payees)
        return (
            Row(what=f"per reward, batch of {BATCH}, existing", seed=None, gas=-(-existing // BATCH), allowed=8_300),
            Row(what=f"per reward, batch of {BATCH}, new", seed=None, gas=-(-new // BATCH), allowed=25_500),
        )

    def root(self) -> int:
        """A share of a Merkle commit, after the first one."""
        for name in ("root 1", "root 2"):
            root, total = keccak256(name.encode()), LEAVES * REWARD
            action = Action(
                nonce=self._nonce, epoch=0, kind="root", height=0, root=root,
                entries=(Entry(account=self._payee.address, amount=uint256(total)),),
            )  # fmt: skip
            gas = self._signed(action, "commitRoot(uint256,bytes32,uint256,bytes)", root, total)
        return -(-gas // LEAVES)

    def compatible(self) -> tuple[int, int]:
        """The seed's procedure, in a contract that offers it: to an existing recipient, and to a new one."""
        addresses = tuple(checksum_address(key.address) for key in self._owners)
        arguments = Arguments(owners=addresses, threshold=THRESHOLD, compatible=True)
        contract = self._opened(self._send(0, plan_deployment(self._senders[0], "multisig", arguments)))
        value = BATCH * REWARD
        account = _account("depositor")
        self._send(0, contract.plan(self._senders[0], "deposit", "deposit(address)", account, value_wei=value))
        spent = []
        for name, reward in (("first", REWARD), ("second", REWARD), ("second", REWARD + 1)):
            payee = _account(name)
            proposed = self._send(
                0, contract.plan(self._senders[0], "propose", "proposeTransaction(address,uint256)", payee, reward)
            )
            (event,) = contract.events(proposed)
            gas = proposed.gas_used
            for number in range(THRESHOLD):
                plan = contract.plan(
                    self._senders[number], "confirm", "confirmTransaction(uint256)", event.values["txIndex"]
                )
                gas += self._send(number, plan).gas_used
            assert contract.rewards(payee) >= reward, "confirmed by the threshold, and not credited"
            spent.append(gas)
        return spent[2], spent[1]

    def withdraw(self) -> int:
        """Everything that an account has."""
        sender = Sender(self._network, self._payee.address, self._payee, FeeOptions(), _silent)
        plan = self._contract.plan(sender, "withdraw", "withdraw()")
        (receipt,) = carry_out(sender, [plan], 1, TIMEOUT_S, _silent, artifact=self._contract.artifact)
        return receipt.gas_used

    def _opened(self, deployed: Receipt) -> DeployedContract:
        assert deployed.contract is not None, "a deployment without a contract"
        return DeployedContract(self._network, deployed.contract, "multisig")

    def _batch(self, payees: Sequence[bytes]) -> int:
        """Deposits what it needs, then credits the payees; gas of the credit."""
        total = REWARD * len(payees)
        sender = self._senders[0]
        self._send(0, self._contract.plan(sender, "deposit", "deposit(address)", sender.address, value_wei=total))
        entries = tuple(Entry(account=payee, amount=uint256(REWARD)) for payee in payees)
        action = Action(nonce=self._nonce, epoch=0, kind="batch", height=0, entries=entries)
        amounts = [REWARD] * len(payees)
        return self._signed(action, "executeBatch(uint256,address[],uint256[],bytes)", list(payees), amounts)

    def _signed(self, action: Action, signature: str, *values: object) -> int:
        """Signed by the threshold, relayed by the first owner; gas used."""
        if action.kind == "root":
            sender = self._senders[0]
            plan = self._contract.plan(sender, "deposit", "deposit(address)", sender.address, value_wei=action.total)
            self._send(0, plan)
        bound = Contract(
            scheme="multisig", chain_id=self._network.chain_id, address=self._contract.address, safe=bytes(20),
            safe_nonce=0, from_block=0,
        )  # fmt: skip
        digest = multisig_digest(bound, action)
        signatures = b"".join(key.sign_digest(digest) for key in self._owners[: self._threshold])
        plan = self._contract.plan(self._senders[0], action.kind, signature, action.nonce, *values, signatures)
        self._nonce += 1
        return self._send(0, plan).gas_used

    def _send(self, owner: int, plan: Plan) -> Receipt:
        (receipt,) = carry_out(self._senders[owner], [plan], 1, TIMEOUT_S, _silent)
        return receipt


def _key(name: str) -> SigningKey:
    return SigningKey(keccak256(b"key" + name.encode()))


def _account(name: str) -> bytes:
    return keccak256(b"account" + name.encode())[12:]


def _silent(line: str) -> None:
    """The figures are the output."""
