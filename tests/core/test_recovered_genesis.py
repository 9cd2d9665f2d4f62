"""The genesis of a recovered network: what its hash covers, who must sign, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from core_network import Chain, certify, make_genesis, make_validators, quorum_of
from epoch_application import EpochApplication, change
from eth_account import Account
from eth_account.messages import encode_typed_data
from recovery_homes import operator, paid_chain, recovery_of, signed_by

from potchain.application.accounts import AccountsApplication
from potchain.application.epochs import CURRENT_KEY, PENDING_KEY, QUEUED_KEY, taken_over
from potchain.codec import decode, encode
from potchain.errors import GenesisError, InvalidProof
from potchain.genesis import Epoch, OperatorSignature, RecoveredGenesis
from potchain.genesis_file import parse_genesis, parse_next_epoch, parse_state, render_genesis, render_state
from potchain.recovery import follows_from, verify_predecessor, verify_recovery, with_signatures


def recovered(**changes: object) -> RecoveredGenesis:
    chain = paid_chain(3)
    return recovery_of(chain, chain.blocks[-1], [chain.epoch], **changes)


def refusal(genesis: RecoveredGenesis) -> str:
    with pytest.raises(InvalidProof) as caught:
        verify_recovery(genesis, quorum_of)
    return str(caught.value)


def test_a_quorum_of_operators_makes_a_genesis_that_goes_on_above_the_last_block() -> None:
    genesis = signed_by(recovered(), "v0", "v2", "v3")
    old = verify_recovery(genesis, quorum_of)
    assert old.number == 0
    assert (genesis.height, genesis.first_epoch.number, genesis.first_epoch.first_sequence) == (3, 1, 4)
    assert genesis.parent_hash == paid_chain(3).blocks[-1].hash
    follows_from(genesis, paid_chain(0).genesis)


def test_the_file_is_read_back_to_the_same_genesis() -> None:
    genesis = signed_by(recovered(), "v0", "v1")
    text = render_genesis(genesis)
    assert parse_genesis(text, "here") == genesis
    assert "accounts" not in json.loads(text)
    assert decode(RecoveredGenesis, encode(genesis)) == genesis


def test_the_hash_does_not_depend_on_who_certified_or_signed() -> None:
    genesis = recovered()
    block = paid_chain(3).blocks[-1]
    others = recovered(certificate=certify(block.header, paid_chain(3).epoch, 4))
    assert genesis.recovery.predecessor != others.recovery.predecessor
    assert genesis.hash == others.hash == signed_by(genesis, "v1").hash


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 2},
        {"state_root": bytes(32)},
        {"genesis_hash": bytes(32)},
        {"chain_id": "another"},
        {"timestamp_ms": 1},
        {"validators": make_validators(["v0", "v1", "v2"])},
        {"header": paid_chain(2).blocks[-1].header},
        {"first_epoch": Epoch(0, 1, make_validators(["x"]), make_genesis().parameters)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_the_hash_covers_everything_agreed_and_signatures_are_void_once_it_changes(changes: dict[str, Any]) -> None:
    signed = signed_by(recovered(), "v0", "v1", "v2")
    changed = with_signatures(recovered(**changes), signed.recovery.signatures)
    assert changed.hash != signed.hash
    refusal(changed)


def test_too_few_signatures_are_refused_with_the_names_of_those_that_lack() -> None:
    assert "2 of 4 operators signed the recovery, 3 are needed; not yet: v1, v2" in refusal(
        signed_by(recovered(), "v0", "v3")
    )


def test_a_stranger_s_signature_is_refused() -> None:
    assert "is no operator of epoch 0 (they are: v0 0x" in refusal(signed_by(recovered(), "v0", "v1", "v2", "mallory"))


def test_one_operator_s_signature_under_another_s_name_is_refused() -> None:
    genesis = signed_by(recovered(), "v0", "v1")
    stolen = genesis.recovery.signatures[0].signature
    changed = with_signatures(genesis, [OperatorSignature(operator("v2").address, stolen)])
    assert "the signature of v2 (0x" in refusal(changed)
    assert "is not for this recovery" in refusal(changed)


def test_a_malformed_signature_is_refused_with_its_fault() -> None:
    changed = with_signatures(recovered(), [OperatorSignature(operator("v2").address, bytes(65))])
    assert "the signature of v2" in refusal(changed)
    assert "v must be 27 or 28" in refusal(changed)


def test_the_same_signature_thrice_is_no_quorum() -> None:
    genesis = signed_by(recovered(), "v0")
    recovery = genesis.recovery
    thrice = msgspec.structs.replace(recovery, signatures=recovery.signatures * 3)
    assert "not of distinct operators" in refusal(msgspec.structs.replace(genesis, recovery=thrice))


def test_a_certificate_below_the_quorum_is_refused() -> None:
    few = certify(paid_chain(3).blocks[-1].header, paid_chain(3).epoch, 2)
    assert "block certificate has 2 signatures, needs 3" in refusal(recovered(certificate=few))


def test_a_certificate_of_another_block_is_refused() -> None:
    other = paid_chain(2).blocks[-1].header
    assert "the certificate is of epoch 0 and height 2" in refusal(
        recovered(certificate=certify(other, paid_chain(2).epoch))
    )


def test_another_epoch_number_or_time_than_the_block_s_is_refused() -> None:
    assert "epoch 5 does not follow epoch 0" in refusal(recovered(epoch=5))
    assert "the time of block 3 is" in refusal(recovered(timestamp_ms=7))


def test_another_network_s_recovery_is_told_apart() -> None:
    genesis = recovered()
    with pytest.raises(InvalidProof, match="the recovery is of the network with genesis 0x"):
        follows_from(genesis, make_genesis([("carol", 1)]))
    with pytest.raises(InvalidProof, match="chain_id is 'another', the network's is 'paper-1'"):
        follows_from(recovered(chain_id="another"), paid_chain(0).genesis)
    forged = Epoch(0, 1, make_validators(["x"]), make_genesis().parameters)
    with pytest.raises(InvalidProof, match="other first validators"):
        follows_from(recovered(first_epoch=forged), paid_chain(0).genesis)


def test_operators_sign_eip_712_typed_data_that_any_wallet_can_show() -> None:
    genesis = recovered()
    message = encode_typed_data(
        full_message={
            "types": {
                "EIP712Domain": [
                    {"name": "name", "type": "string"},
                    {"name": "version", "type": "string"},
                    {"name": "salt", "type": "bytes32"},
                ],
                "Recovery": [
                    {"name": "newGenesis", "type": "bytes32"},
                    {"name": "blockHash", "type": "bytes32"},
                    {"name": "height", "type": "uint64"},
                    {"name": "epoch", "type": "uint64"},
                ],
            },
            "primaryType": "Recovery",
            "domain": {"name": "potchain", "version": "1", "salt": paid_chain(0).genesis.hash},
            "message": {"newGenesis": genesis.hash, "blockHash": genesis.parent_hash, "height": 3, "epoch": 1},
        }
    )
    signature = bytes(Account.sign_message(message, operator("v1").secret).signature)
    assert signature == signed_by(genesis, "v1").recovery.signatures[0].signature


# --- epochs -----------------------------------------------------------------------------------------------------------


def changed_chain(blocks: int) -> tuple[Chain, list[Epoch]]:
    """A chain that goes from v0..v3 to v0..v4 after block 4; (chain, its epochs)."""
    everybody = make_validators([f"v{number}" for number in range(5)])
    genesis = make_genesis([("alice", 10**6)], checkpoint_interval=1, log_window=2, in_flight_max=1)
    chain = Chain(genesis, (AccountsApplication(), EpochApplication(everybody)))
    epochs = [chain.epoch]
    for height in range(1, blocks + 1):
        transactions = [change(chain.executor.types, "alice", 0, ["v0", "v1", "v2", "v3", "v4"])] if height == 2 else []
        chain.run(*transactions)
        if chain.epoch is not epochs[-1]:
            epochs.append(chain.epoch)
    return chain, epochs


def test_the_operators_of_the_epoch_in_which_it_stopped_sign() -> None:
    chain, epochs = changed_chain(6)
    assert [epoch.first_sequence for epoch in epochs] == [1, 5]
    genesis = signed_by(recovery_of(chain, chain.blocks[-1], epochs), "v1", "v2", "v3", "v4")
    assert verify_recovery(genesis, quorum_of) == epochs[1]
    assert genesis.first_epoch.number == 2


def test_after_the_last_block_of_an_epoch_the_next_epoch_s_operators_sign() -> None:
    chain, epochs = changed_chain(4)
    assert len(epochs) == 2
    genesis = recovery_of(chain, chain.blocks[-1], epochs)
    assert verify_predecessor(genesis, quorum_of) == epochs[1]
    assert verify_recovery(signed_by(genesis, "v1", "v2", "v3", "v4"), quorum_of) == epochs[1]


def test_a_boundary_block_without_its_link_is_refused() -> None:
    chain, epochs = changed_chain(4)
    genesis = recovery_of(chain, chain.blocks[-1], epochs, links=(), epoch=1)
    with pytest.raises(InvalidProof, match="block 4 ended its epoch, but the last epoch link is not of it"):
        verify_predecessor(genesis, quorum_of)


def test_a_pending_change_is_dropped_with_the_epoch_that_decided_it() -> None:
    chain, _ = changed_chain(3)
    assert chain.state.get(PENDING_KEY) is not None
    following = Epoch(1, 4, chain.epoch.members, chain.epoch.parameters)
    records = taken_over(chain.state.items(), following)
    assert decode(Epoch, records[CURRENT_KEY]) == following
    assert PENDING_KEY not in records
    assert QUEUED_KEY not in records
    assert {name: value for name, value in records.items() if not name.startswith(b"epoch/")} == {
        name: value for name, value in chain.state.items() if not name.startswith(b"epoch/")
    }


# --- files ------------------------------------------------------------------------------------------------------------


def test_faults_of_the_file_are_named() -> None:
    document = json.loads(render_genesis(recovered()))
    document["accounts"] = []
    document["recovered"]["predecessor"]["header"]["height"] = "three"
    with pytest.raises(GenesisError) as caught:
        parse_genesis(json.dumps(document).encode(), "r.json")
    assert any("accounts is not a known key" in fault for fault in caught.value.faults)
    del document["recovered"]["state_root"]
    with pytest.raises(GenesisError, match="recovered must be an object with the members epoch, state_root"):
        parse_genesis(json.dumps(document).encode(), "r.json")


def test_the_state_file_is_the_same_for_the_same_state_and_refuses_rubbish() -> None:
    records = dict(paid_chain(2).state.items())
    data = render_state(records)
    assert data == render_state(dict(reversed(records.items())))
    assert parse_state(data, "s") == records
    for rubbish in (b"", data[:-1], data + b"\0", render_genesis(recovered())):
        with pytest.raises(GenesisError, match="no state file"):
            parse_state(rubbish, "s")


def test_the_validators_of_the_next_epoch_are_checked_like_a_genesis() -> None:
    document = json.loads(render_genesis(paid_chain(0).genesis))
    text = json.dumps({"validators": document["validators"][:2]}).encode()
    assert parse_next_epoch(text, "v") == (paid_chain(0).genesis.validators[:2], None)
    with pytest.raises(GenesisError, match="accounts is not a known key"):
        parse_next_epoch(json.dumps(document).encode(), "v")
    twice = {"validators": [document["validators"][0]] * 2}
    with pytest.raises(GenesisError, match="repeats an earlier entry's"):
        parse_next_epoch(json.dumps(twice).encode(), "v")


def test_nothing_certified_is_nothing_to_carry_on() -> None:
    chain = paid_chain(1)
    header = chain.executor.genesis_block(chain.state.root)
    genesis = recovered(header=header, certificate=certify(header, chain.epoch))
    with pytest.raises(InvalidProof, match="height 0 is before epoch 0"):
        verify_predecessor(genesis, quorum_of)
