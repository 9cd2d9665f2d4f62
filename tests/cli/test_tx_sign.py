"""Signing offline: the file is what any wallet would have signed, and wrong input is named before a key is touched."""

import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from potchain import cli
from potchain.cli.load import sign_transfers
from potchain.cli.testnet_folder import Network, create_network, local_hosts
from potchain.crypto import SigningKey, checksum_address
from potchain.keyfiles import load_account_key
from potchain.transactions import TransactionTypes, Transfer
from potchain.typed_data import body_from_json, types_json

RECEIVER = "0x00000000000000000000000000000000000000A1"


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return create_network(tmp_path / "net", local_hosts(1, 20_000), chain_id="t", accounts=1)


def sign_arguments(network: Network, *more: str) -> list[str]:
    (key,) = network.account_files()
    password = network.folder / "accounts" / "password.txt"
    genesis = network.folder / "genesis.json"
    return ["tx", "sign", "--key", str(key), "--password-file", str(password), "--genesis", str(genesis),
            "--to", RECEIVER.lower(), "--amount", "5", "--nonce", "0", *more]


def test_a_signed_file_is_what_a_wallet_would_sign(
    network: Network, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "transfer.json"
    assert cli.main(sign_arguments(network, "--memo", "hello", "--fee", "12", "--out", str(out))) == 0
    assert str(out) in capsys.readouterr().out
    document = json.loads(out.read_text())
    key = load_account_key(network.account_files()[0], network.account_password())
    types = TransactionTypes([Transfer], network.genesis().hash)
    typed = {
        "types": types_json(types.kind("Transfer")),
        "primaryType": document["kind"],
        "domain": document["domain"],
        "message": document["message"],
    }
    recovered = Account.recover_message(encode_typed_data(full_message=typed), signature=document["signature"])
    assert recovered == checksum_address(key.address) == document["message"]["from"]
    assert document["message"]["memo"] == "0x" + b"hello".hex()
    body = body_from_json(types.kind("Transfer"), document["message"])
    assert document["id"] == "0x" + types.digest(body).hex()


def test_without_out_the_document_is_printed(network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(sign_arguments(network)) == 0
    assert json.loads(capsys.readouterr().out)["message"]["amount"] == "5"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--amount", "-1"), "-1"),
        (("--amount", str(2**256)), "not in the range"),
        (("--nonce", str(2**64)), "not in the range"),
        (("--memo", "x" * 65), "65 bytes, at most 64"),
        (("--memo", "0xzz"), "no hex"),
        (("--to", "0x00000000000000000000000000000000000000a1x"), "40 hex digits"),
        (("--to", RECEIVER.replace("A1", "a1").replace("00000", "00a00", 1).replace("a0", "A0", 1)), "EIP-55"),
    ],
)
def test_wrong_values_are_named(
    network: Network, more: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(sign_arguments(network, *more)) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[]", "one JSON object")])
def test_a_file_that_is_no_transaction_is_not_sent(
    tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert cli.main(["tx", "submit", str(path), "--url", "http://127.0.0.1:9"]) == 2
    assert message in capsys.readouterr().err


def test_a_load_keeps_each_sender_on_one_lane_with_ascending_nonces() -> None:
    keys = [SigningKey(bytes(31) + bytes((number,))) for number in range(1, 6)]
    lanes = sign_transfers(keys, [0, 3, 0, 0, 0], bytes(32), 23, lanes=2, fee=10, amount=1)
    assert sum(map(len, lanes)) == 23
    assert not {item.sender for item in lanes[0]} & {item.sender for item in lanes[1]}
    types = TransactionTypes([Transfer], bytes(32))
    nonces: dict[str, list[int]] = {}
    for lane in lanes:
        for item in lane:
            body = body_from_json(types.kind("Transfer"), item.document["message"])  # type: ignore[arg-type]
            signature = bytes.fromhex(str(item.document["signature"])[2:])
            types.check_signature(types.assemble(body, signature))
            nonces.setdefault(item.sender, []).append(body.nonce)
    assert nonces["0x" + keys[1].address.hex()] == [3, 4, 5, 6, 7]
    assert all(found == list(range(found[0], found[0] + len(found))) for found in nonces.values())
