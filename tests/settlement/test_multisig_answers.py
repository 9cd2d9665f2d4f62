"""The pure rooms of the multisig plug-in: options, shapes of answers, logs into events, errors, signed transactions."""

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from settlement_chain import NOBODY, RELAYER, hexed, key_of

from potchain import BackendContext, Contract, DepositSeen, SettlementError, decode, keccak256, uint256
from potchain_multisig import EvmFactory, EvmOptions, settlement_backends
from potchain_multisig.answers import ErrorShape, Log, LogShape, log_from, revert_data
from potchain_multisig.calls import Entry, Interface, load_artifact
from potchain_multisig.endpoints import Call
from potchain_multisig.events import FORMS, consecutive, event_from
from potchain_multisig.fees import Offer
from potchain_multisig.options import require_usable, shown
from potchain_multisig.relaying import meaning
from potchain_multisig.transactions import read_back, signed

ACCOUNT = key_of("account").address
BOUND = Contract("multisig", 97, key_of("contract").address, NOBODY, 0, 0)
DEPOSIT = keccak256(b"Deposit(uint256,address,uint256)")


def deposit_log(**changes: object) -> Log:
    """A proper one, changed."""
    whole = Log(
        topics=(DEPOSIT, uint256(4), ACCOUNT.rjust(32, b"\0")),
        data=uint256(9),
        block_number=3,
        block_hash=bytes(32),
        transaction_hash=b"\x01" * 32,
        log_index=2,
    )
    return msgspec.structs.replace(whole, **changes)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({}, r"settlement\.multisig\.endpoints is empty"),
        ({"endpoints": ["ws://127.0.0.1:1"]}, "no http:// or https:// address"),
        ({"endpoints": ["https://"]}, "an address without a host"),
        ({"endpoints": ["http://a", "http://a"]}, "listed twice"),
        ({"endpoints": ["http://a"], "agreement": 2}, "more endpoints than the 1 listed"),
        ({"endpoints": ["http://a", "http://b"], "agreement": 1}, "two truths"),
    ],
)
def test_options_that_cannot_work_are_refused(table: dict[str, Any], text: str) -> None:
    with pytest.raises(SettlementError, match=text) as caught:
        require_usable(msgspec.convert(table, EvmOptions), "multisig")
    assert caught.value.code == "not_configured"


@pytest.mark.parametrize(
    "table",
    [{"code_hash": "0x12"}, {"endpoints": ["http://a"] * 9}, {"agreement": -1}, {"gas_max": 0}, {"unknown": 1}],
)
def test_options_of_another_shape_are_no_options(table: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(table, EvmOptions)


def test_an_endpoint_is_shown_without_its_secrets() -> None:
    assert shown("https://user:secret@node.example:8545/v3/secret?key=secret") == "node.example:8545"


def test_the_plug_in_offers_both_back_ends_and_imports_no_evm_library_for_it() -> None:
    assert [(factory.name, factory.scheme) for factory in settlement_backends()] == [
        ("multisig", "multisig"),
        ("safe", "safe"),
    ]
    code = "import sys, potchain_multisig; print([n for n in ('web3', 'eth_abi', 'eth_account') if n in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_without_the_evm_libraries_the_fault_names_the_extra() -> None:
    code = """
import sys
sys.modules["eth_abi"] = None
from potchain import BackendContext, Contract, SettlementError
from potchain_multisig import EvmFactory, EvmOptions
contract = Contract("multisig", 1, bytes(20), bytes(20), 0, 0)
context = BackendContext(contract=contract, relay_key=None, confirmations=0)
try:
    EvmFactory("multisig").create(EvmOptions(endpoints=("http://a",)), context)
except SettlementError as fault:
    print(fault)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("not_configured: ")
    assert "pip install 'potchain[evm]'" in run.stdout


def test_a_back_end_serves_its_own_scheme_alone() -> None:
    context = BackendContext(contract=BOUND, relay_key=None, confirmations=0)
    with pytest.raises(SettlementError, match="scheme 'multisig'") as caught:
        EvmFactory("safe").create(EvmOptions(endpoints=("http://a",)), context)
    assert caught.value.code == "not_configured"


def test_the_forms_of_events_are_those_of_the_artifacts() -> None:
    for name in ("PotSettlement", "PotBook"):
        abi = load_artifact(name).abi
        topics = {
            keccak256(f"{entry.name}({','.join(item.type for item in entry.inputs)})".encode()): entry
            for entry in abi
            if entry.type == "event" and entry.inputs and entry.inputs[0].name == "eventNonce"
        }
        assert set(topics) <= set(FORMS)
        for topic, entry in topics.items():
            form = FORMS[topic]
            assert len(entry.inputs) == 1 + len(form.indexed) + len(form.words)
    assert len(FORMS) == 5


def test_a_log_becomes_an_event() -> None:
    event = event_from(deposit_log())
    assert decode(DepositSeen, event.payload) == DepositSeen(ACCOUNT, uint256(9))
    assert (event.event_nonce, event.kind, event.block_number, event.log_index) == (4, "deposit", 3, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"topics": ()},
        {"topics": (DEPOSIT,)},
        {"topics": (b"\x07" * 32, uint256(4), ACCOUNT.rjust(32, b"\0"))},
        {"topics": (DEPOSIT, uint256(2**64), ACCOUNT.rjust(32, b"\0"))},
        {"topics": (DEPOSIT, uint256(4), b"\x01" * 32)},
        {"data": b""},
        {"data": uint256(9) * 2},
        {"topics": (keccak256(b"PauseSet(uint256,uint256,bool)"), uint256(4), uint256(0)), "data": uint256(2)},
    ],
)
def test_logs_that_the_contract_cannot_have_made(changes: dict[str, Any]) -> None:
    with pytest.raises(SettlementError) as caught:
        event_from(deposit_log(**changes))
    assert caught.value.code == "rubbish"


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=5), st.binary(max_size=200), st.sampled_from(list(FORMS)))
def test_any_log_is_an_event_or_rubbish(topics: list[bytes], data: bytes, first: bytes) -> None:
    log = deposit_log(topics=(first, *topics), data=data)
    try:
        event = event_from(log)
    except SettlementError:
        return
    assert len(topics) + 1 == len(log.topics) <= 3
    assert event.event_nonce < 2**64


def test_events_come_in_the_order_of_the_chain_without_a_gap() -> None:
    first = event_from(deposit_log())
    second = event_from(deposit_log(topics=(DEPOSIT, uint256(5), ACCOUNT.rjust(32, b"\0")), log_index=3))
    assert consecutive([first, second], 4) == (first, second)
    for wrong in ([second, first], [first, first], [second], [first, msgspec.structs.replace(second, log_index=2)]):
        with pytest.raises(SettlementError):
            consecutive(wrong, 4)


@pytest.mark.parametrize("member", ["block_number", "log_index"])
def test_numbers_of_more_than_64_bits_are_rubbish(member: str) -> None:
    members = {
        "address": hexed(ACCOUNT), "topics": (), "data": "0x", "block_number": "0x1", "block_hash": "0x" + "00" * 32,
        "transaction_hash": "0x" + "00" * 32, "log_index": "0x0",
    }  # fmt: skip
    assert log_from(LogShape(**members), ACCOUNT).block_number == 1
    with pytest.raises(SettlementError):
        log_from(LogShape(**members | {member: "0x1" + "0" * 16}), ACCOUNT)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ErrorShape(3, "execution reverted", "0x1234"), b"\x12\x34"),
        (ErrorShape(3, "execution reverted"), b""),
        (ErrorShape(-32000, "VM execution error: revert", {"data": "0x12"}), b"\x12"),
        (ErrorShape(-32015, "VM execution error.", "Reverted 0x12"), None),
        (ErrorShape(-32015, "revert", "Reverted 0x12"), b"\x12"),
        (ErrorShape(3, "reverted", {"data": {"result": "0x12"}}), b"\x12"),
        (ErrorShape(3, "reverted", [1]), b""),
        (ErrorShape(3, "reverted", "0xzz"), b""),
        (ErrorShape(-32000, "missing trie node"), None),
        (ErrorShape(-32005, "rate limit", "0x12"), None),
    ],
)
def test_where_nodes_put_the_reason_of_a_refusal(error: ErrorShape, expected: bytes | None) -> None:
    assert revert_data(error) == expected


def test_errors_are_told_with_their_values() -> None:
    interface = Interface(load_artifact("PotSettlement").abi)
    paused = keccak256(b"Paused(uint256)")[:4] + uint256(5)
    assert (interface.error(paused).text, interface.error(paused).fault) == ("Paused(until=5)", "paused")
    string = keccak256(b"Error(string)")[:4] + uint256(32) + uint256(5) + b"GS026".ljust(32, b"\0")
    assert interface.error(string).text == "GS026"
    panic = keccak256(b"Panic(uint256)")[:4] + uint256(0x11)
    assert interface.error(panic).text == "panic 0x11: arithmetic overflow"
    assert interface.error(b"").text == "it reverts without a reason"
    assert interface.error(b"\x01\x02\x03\x04").text == "unknown error 0x01020304"


@given(st.binary(max_size=300))
def test_any_revert_data_has_a_text(data: bytes) -> None:
    interface = Interface(load_artifact("PotSettlement").abi)
    for selector in (b"", keccak256(b"Error(string)")[:4], keccak256(b"WrongNonce(uint256,uint256)")[:4]):
        assert interface.error(selector + data).text.isprintable()


def test_code_is_ours_whatever_its_immutable_variables() -> None:
    artifact = load_artifact("PotSettlement")
    code = bytearray.fromhex(artifact.deployed_bytecode[2:])
    assert artifact.is_code(bytes(code))
    stretch = artifact.immutable_references[0]
    code[stretch.start] ^= 1
    assert artifact.is_code(bytes(code))
    code[stretch.start - 1] ^= 1
    assert not artifact.is_code(bytes(code))
    assert not artifact.is_code(bytes(code) + b"\0")
    assert not artifact.is_code(b"")


def test_an_answer_that_does_not_fit_the_function_is_rubbish() -> None:
    entry = Entry(type="function", name="f", outputs=load_artifact("PotBook").abi[0].inputs[:1])
    interface = Interface((entry,))
    with pytest.raises(SettlementError) as caught:
        interface.decode("f", b"")
    assert caught.value.code == "wrong_contract"
    for answer in (b"\x01", b"\xff" * 32):
        with pytest.raises(SettlementError) as caught:
            interface.decode("f", answer)
        assert caught.value.code == "rubbish"


@pytest.mark.parametrize("offer", [Offer(10**10, 10**9), Offer(10**10, None)])
def test_a_signed_transaction_is_that_of_the_key_and_can_be_read_back(offer: Offer) -> None:
    call = Call(BOUND.address, b"\x01\x02\x03")
    made = signed(RELAYER, 97, 7, call, 90_000, offer)
    assert keccak256(made.raw) == made.hash
    told = read_back(made.raw)
    assert (told.call, told.gas, told.offer) == (call, 90_000, offer)
    assert bytes.fromhex(Account.recover_transaction(hexed(made.raw))[2:]) == RELAYER.address


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("already known", ""),
        ("nonce too low: next nonce 5, tx nonce 4", ""),
        ("insufficient funds for gas * price + value: balance 1, tx cost 2", "empty_wallet"),
        ("replacement transaction underpriced", "gas_too_dear"),
        ("transaction underpriced: gas tip cap 0, minimum needed 1", "gas_too_dear"),
        ("max fee per gas less than block base fee: address 0x00", "gas_too_dear"),
        ("FeeTooLow, MaxFeePerGas too low", "gas_too_dear"),
        ("exceeds block gas limit", "gas_too_much"),
        ("intrinsic gas too low", "gas_too_much"),
        ("txpool is full", "refused"),
    ],
)
def test_what_pools_say(message: str, code: str) -> None:
    assert meaning(message) == code
