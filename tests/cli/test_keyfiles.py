"""Key files: who may read them, what is wrong with a bad one, and what is never overwritten."""

import json
import os
import stat
from pathlib import Path

import pytest
from eth_account import Account

from potchain import cli
from potchain.crypto import SigningKey, checksum_address
from potchain.errors import KeyFileError
from potchain.genesis import Epoch, Parameters
from potchain.keyfiles import (
    TEST_ITERATIONS,
    ValidatorKeys,
    account_file_address,
    create_account_file,
    create_validator_keys,
    load_account_key,
    load_validator_keys,
    member_of,
)


def test_validator_keys_round_trip_with_mode_0600(tmp_path: Path) -> None:
    made = create_validator_keys(tmp_path)
    loaded = load_validator_keys(tmp_path)
    assert (loaded.node_secret, loaded.node_public) == (made.node_secret, made.node_public)
    assert loaded.consensus.secret == made.consensus.secret
    assert loaded.node_id == made.consensus.address
    for name in ("node.key", "consensus.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    create_validator_keys(tmp_path)
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_validator_keys(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
@pytest.mark.parametrize("name", ["node.key", "consensus.key"])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    create_validator_keys(tmp_path)
    (tmp_path / name).chmod(mode)
    with pytest.raises(KeyFileError, match=rf"mode {mode:04o}.*chmod 600"):
        load_validator_keys(tmp_path)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    create_validator_keys(tmp_path)
    (tmp_path / "consensus.key").rename(tmp_path / "consensus.kye")
    with pytest.raises(KeyFileError, match=r"consensus\.key does not exist.*did you mean 'consensus\.kye'"):
        load_validator_keys(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "rsa"}, "type 'rsa'"),
        ({"secret": "0x12"}, "1 bytes, not 32"),
        ({"secret": "zz"}, "no key file"),
        ({"public": "0x" + "02" * 33}, "not that of its secret"),
        ({"secret": "0x" + "00" * 32}, "damaged"),
        ({"more": "x"}, "unknown field"),
    ],
)
def test_a_damaged_key_is_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    create_validator_keys(tmp_path)
    path = tmp_path / "consensus.key"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(KeyFileError, match=message):
        load_validator_keys(tmp_path)


def test_rubbish_is_no_key(tmp_path: Path) -> None:
    create_validator_keys(tmp_path)
    (tmp_path / "node.key").write_bytes(os.urandom(100))
    with pytest.raises(KeyFileError, match="no key file"):
        load_validator_keys(tmp_path)
    (tmp_path / "node.key").write_bytes(bytes(100_000))
    with pytest.raises(KeyFileError, match="more than"):
        load_validator_keys(tmp_path)


def test_keys_of_another_network_are_told_apart(tmp_path: Path) -> None:
    keys = create_validator_keys(tmp_path)
    member = keys.validator("a", bytes(19) + b"\1")
    epoch = Epoch(number=0, first_sequence=1, members=(member,), parameters=Parameters())
    assert member_of(epoch, keys) == member
    stranger = ValidatorKeys(
        node_secret=keys.node_secret, node_public=keys.node_public, consensus=SigningKey(bytes(31) + b"\1")
    )
    assert member_of(epoch, stranger) is None, "it observes"
    mixed = ValidatorKeys(node_secret=bytes(32), node_public=bytes(32), consensus=keys.consensus)
    with pytest.raises(KeyFileError, match=r"node\.key is not the one"):
        member_of(epoch, mixed)


def test_accounts_are_standard_keystores(tmp_path: Path) -> None:
    key = SigningKey.generate()
    path = tmp_path / "alice.json"
    create_account_file(path, key, "correct horse", iterations=TEST_ITERATIONS)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Account.decrypt(path.read_text(), "correct horse") == key.secret  # a wallet that is not ours
    assert load_account_key(path, "correct horse").address == key.address
    assert account_file_address(path) == key.address
    with pytest.raises(KeyFileError, match="wrong password for"):
        load_account_key(path, "wrong horse")
    with pytest.raises(KeyFileError, match="never overwritten"):
        create_account_file(path, key, "other", iterations=TEST_ITERATIONS)
    with pytest.raises(KeyFileError, match="empty password"):
        create_account_file(tmp_path / "bob.json", key, "")


def test_keystores_of_wallets_can_be_read(tmp_path: Path) -> None:
    secret = bytes(31) + b"\7"
    path = tmp_path / "wallet.json"
    path.write_text(json.dumps(Account.encrypt(secret, "pw", kdf="scrypt", iterations=2)))
    assert load_account_key(path, "pw").secret == secret


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 4}', '{"version": 3}', '{"version": 3, "crypto": 1}'])
def test_what_is_no_keystore_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(KeyFileError, match="no Web3 V3 keystore"):
        load_account_key(path, "pw")


def test_account_new_and_show(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "alice.json"
    monkeypatch.setenv("POTCHAIN_KEY_PASSWORD", "pw")
    assert cli.main(["account", "new", str(path), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert checksum_address(account_file_address(path)) == made["address"]
    assert cli.main(["account", "show", str(path)]) == 0
    assert capsys.readouterr().out.strip() == made["address"]
    assert cli.main(["account", "new", str(path)]) == 2
    assert "never overwritten" in capsys.readouterr().err
