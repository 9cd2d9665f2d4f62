"""Four replicas settle: duties without a fee pass their pools, and all of them come to the same state."""

from __future__ import annotations

from core_network import key
from replica_cluster import Cluster
from settlement_ledger import CHAIN_ID, CONTRACT, core_applications, joined, observation, operator_key, seen_of

from potchain.application.accounts import load_account
from potchain.application.governance.bodies import GovBindContract, GovVote
from potchain.application.settlement import records
from potchain.application.settlement.bodies import ObserveL2, SignBatch, Withdraw
from potchain.crypto import SigningKey
from potchain.primitives import ZERO_ADDRESS, uint256
from potchain.settlement import DepositSeen
from potchain.transactions import TransactionBody


def send(
    cluster: Cluster, node: int, signer: SigningKey, kind: type[TransactionBody], *members: object, fee: int = 0
) -> bytes:
    """Submit at one node and let everybody execute it; its id."""
    state = cluster.nodes[node].replica.chain.state
    body = kind(signer.address, load_account(state, signer.address).nonce, uint256(fee), 0, *members)  # type: ignore[arg-type]
    transaction = cluster.types.sign(body, signer)
    cluster.submit(node, transaction)
    cluster.advance(2_000)
    return transaction.id


def test_replicas_bind_pay_and_credit_alike() -> None:
    cluster = Cluster(applications=core_applications())
    cluster.settle()
    operators = [operator_key(index) for index in range(4)]
    owners = joined([each.address for each in operators])
    members = ("multisig", CHAIN_ID, CONTRACT, ZERO_ADDRESS, 0, 1, owners, 3)
    proposal = send(cluster, 0, operators[0], GovBindContract, *members)
    for index in (1, 2):
        send(cluster, index, operators[index], GovVote, proposal, 1)
    for index in (2, 1, 0):
        send(cluster, index, operators[index], ObserveL2, *observation(0, DepositSeen(key("bob").address, uint256(45))))
    send(cluster, 3, key("alice"), Withdraw, uint256(40), fee=10)
    state = cluster.nodes[0].replica.chain.state
    record = records.action(state, 0)
    assert record is not None
    for index in (3, 1, 0):
        send(cluster, index, operators[index], SignBatch, 0, operators[index].sign_digest(record.digest))
    signed = records.action(state, 0)
    assert signed is not None
    assert signed.status == records.SIGNED
    seen = seen_of(state, 0)
    deposit = DepositSeen(key("nobody yet").address, uint256(9))
    for index in (2, 1, 0):
        send(cluster, index, operators[index], ObserveL2, *observation(2, deposit))
        send(cluster, index, operators[index], ObserveL2, *observation(1, seen))
    assert records.counters(state).next_event == 3
    assert records.owed(state) == 0
    assert load_account(state, key("nobody yet").address).balance == uint256(9)
    assert len({node.replica.chain.state.root for node in cluster.nodes}) == 1
