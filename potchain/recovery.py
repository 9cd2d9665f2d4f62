"""When a network has stopped for good: is the genesis that carries it on the one that its operators agreed to?

A recovered genesis names the last certified block of the network before it, with the proof of it, and is signed by a
quorum of the operators of the epoch in which that network stopped. They sign its hash, as EIP-712 typed data in the
domain of the *old* network:

    Recovery(bytes32 newGenesis, bytes32 blockHash, uint64 height, uint64 epoch)

so that a wallet shows what is given up, and no signature fits another network or could pass for a transaction. The
hash does not cover certificates and signatures: nodes hold different quorums of them for one block, and it must not
matter whose were taken.

`verify_recovery` believes nothing but the first epoch that the genesis file states; `follows_from` ties that to the
genesis file of the network before. Both raise InvalidProof with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable

from potchain.crypto import checksum_address, keccak256, recover_address
from potchain.errors import InvalidProof
from potchain.genesis import Epoch, Genesis, OperatorSignature, RecoveredGenesis
from potchain.primitives import Digest
from potchain.proofs import QuorumOf, follow_epochs, verify_header
from potchain.transactions import domain_separator

PRIMARY_TYPE = "Recovery(bytes32 newGenesis,bytes32 blockHash,uint64 height,uint64 epoch)"


def signing_digest(genesis: RecoveredGenesis) -> Digest:
    """The EIP-712 digest that an operator signs."""
    words = (
        genesis.hash,
        genesis.parent_hash,
        genesis.height.to_bytes(32, "big"),
        genesis.recovery.epoch.to_bytes(32, "big"),
    )
    struct = keccak256(keccak256(PRIMARY_TYPE.encode()) + b"".join(words))
    return Digest(keccak256(b"\x19\x01" + domain_separator(genesis.recovery.predecessor.genesis_hash) + struct))


def verify_predecessor(genesis: RecoveredGenesis, quorum_of: QuorumOf) -> Epoch:
    """Check the last block's proof and what the genesis takes from it; the epoch whose operators must sign."""
    recovery = genesis.recovery
    before = recovery.predecessor
    *_, epoch = follow_epochs(before.links, before, quorum_of)
    if not before.header.next_epoch:
        verify_header(before.header, before.certificate, before.links, before, quorum_of)
    elif not before.links or before.links[-1].header != before.header:
        # The block ended its epoch: it is the last link, and following the links has checked its certificate.
        raise InvalidProof(f"block {before.header.height} ended its epoch, but the last epoch link is not of it")
    if not before.header.height:
        raise InvalidProof("the network before has certified no block; begin a new network instead")
    if recovery.epoch != epoch.number + 1:
        raise InvalidProof(f"epoch {recovery.epoch} does not follow epoch {epoch.number}, in which the network stopped")
    if genesis.timestamp_ms != before.header.block_time_ms:
        raise InvalidProof(
            f"timestamp_ms is {genesis.timestamp_ms}, the time of block {before.header.height} is "
            f"{before.header.block_time_ms}"
        )
    return epoch


def verify_signatures(genesis: RecoveredGenesis, epoch: Epoch) -> None:
    """Check that those who signed are distinct operators of that epoch, however many they are."""
    names = {member.operator: member.name for member in epoch.members}
    listed = [entry.operator for entry in genesis.recovery.signatures]
    if listed != sorted(set(listed)):
        raise InvalidProof("the operators' signatures are not of distinct operators in the order of their addresses")
    digest = signing_digest(genesis)
    for entry in genesis.recovery.signatures:
        shown = checksum_address(entry.operator)
        if entry.operator not in names:
            known = ", ".join(f"{name} {checksum_address(address)}" for address, name in names.items())
            raise InvalidProof(f"{shown} is no operator of epoch {epoch.number} (they are: {known})")
        try:
            signer = recover_address(digest, entry.signature)
        except InvalidProof as fault:
            raise InvalidProof(f"the signature of {names[entry.operator]} ({shown}): {fault}") from None
        if signer != entry.operator:
            raise InvalidProof(
                f"the signature of {names[entry.operator]} ({shown}) is not for this recovery 0x{genesis.hash.hex()}: "
                f"something was changed after it was signed, or it belongs to another document"
            )


def verify_recovery(genesis: RecoveredGenesis, quorum_of: QuorumOf) -> Epoch:
    """Check predecessor, signatures and that they are a quorum; the epoch whose operators signed."""
    epoch = verify_predecessor(genesis, quorum_of)
    verify_signatures(genesis, epoch)
    given, wanted = len(genesis.recovery.signatures), quorum_of(len(epoch.members))
    if given < wanted:
        signed = {entry.operator for entry in genesis.recovery.signatures}
        missing = ", ".join(member.name for member in epoch.members if member.operator not in signed)
        raise InvalidProof(
            f"{given} of {len(epoch.members)} operators signed the recovery, {wanted} are needed; not yet: {missing}. "
            f"Let them run `potchain recover sign`, and put the files together with `potchain recover combine`"
        )
    return epoch


def follows_from(genesis: RecoveredGenesis, old: Genesis) -> None:
    """Check that it is this network that the genesis carries on."""
    before = genesis.recovery.predecessor
    if before.genesis_hash != old.hash:
        raise InvalidProof(
            f"the recovery is of the network with genesis 0x{before.genesis_hash.hex()}, this one's is "
            f"0x{old.hash.hex()}"
        )
    if before.first_epoch != old.first_epoch:
        raise InvalidProof("the recovery names other first validators than the genesis file of the network before")
    if genesis.chain_id != old.chain_id:
        raise InvalidProof(f"the recovery's chain_id is {genesis.chain_id!r}, the network's is {old.chain_id!r}")


def with_signatures(genesis: RecoveredGenesis, added: Iterable[OperatorSignature]) -> RecoveredGenesis:
    """The same recovery with further signatures; of two of one operator the first counts."""
    by_operator = {entry.operator: entry for entry in added}
    by_operator |= {entry.operator: entry for entry in genesis.recovery.signatures}
    recovery = genesis.recovery
    return RecoveredGenesis(
        chain_id=genesis.chain_id,
        timestamp_ms=genesis.timestamp_ms,
        validators=genesis.validators,
        accounts=(),
        parameters=genesis.parameters,
        recovery=type(recovery)(
            epoch=recovery.epoch,
            state_root=recovery.state_root,
            predecessor=recovery.predecessor,
            signatures=tuple(by_operator[operator] for operator in sorted(by_operator)),
        ),
    )
