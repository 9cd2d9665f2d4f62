"""Clients and peers that are not ours: a wallet library, rubbish, and a stranger on the transport port."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

from live_network import LiveNetwork, address

from potchain.keyfiles import TEST_ITERATIONS, create_account_file

ROOT = Path(__file__).parents[2]


def test_ten_lines_of_eth_account_pay_and_the_proof_holds_offline(live: LiveNetwork, tmp_path: Path) -> None:
    keystore, password = tmp_path / "key.json", tmp_path / "password.txt"
    create_account_file(keystore, live.keys[0], "secret", iterations=TEST_ITERATIONS)
    password.write_text("secret")
    to = address(live.keys[1])
    client = subprocess.run(
        [sys.executable, ROOT / "docs/examples/ten_lines.py", keystore, password, to, "5", live.urls[2]],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    proof = tmp_path / "proof.json"
    proof.write_text(client.stdout)
    genesis = live.network.folder / "genesis.json"
    live.stop()  # offline indeed
    command = [sys.executable, "-m", "potchain", "verify", str(proof), "--genesis", str(genesis), "--json"]
    verified = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert to in verified.stdout
    document = json.loads(client.stdout)
    text = json.dumps(document)
    receipt_at = text.index('"ok"')
    proof.write_text(text[:receipt_at] + '"failed"' + text[receipt_at + 4 :])
    tampered = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert tampered.returncode == 1
    assert "Traceback" not in tampered.stderr


def test_bad_transactions_are_refused_by_code_and_change_nothing(live: LiveNetwork) -> None:
    good = live.transfer()
    before = live.get(0, "/v1/status"), live.get(0, "/v1/pool")

    def changed(**members: object) -> dict[str, object]:
        return {**good, "message": {**good["message"], **members}}

    cases = {
        "bad_signature": changed(amount="2"),
        "bad_amount": changed(amount="-1"),
        "unknown_field": changed(color="red"),
        "unknown_kind": {**good, "kind": "Transmogrify"},
        "bad_address": changed(to="0x1234"),
        "wrong_chain": {**good, "domain": {"name": "potchain", "version": "1", "salt": "0x" + "11" * 32}},
    }
    for code, document in cases.items():
        problem = live.refusal(0, document)
        assert (problem.code, 400 <= problem.status < 500) == (code, True), problem
    poor = live.transfer(3, amount=10**30)
    assert live.refusal(0, poor).code == "insufficient_funds"
    live.nonces[live.keys[4].address] = 999
    assert live.refusal(0, live.transfer(4)).code == "nonce_gap_too_large"
    after = live.get(0, "/v1/status"), live.get(0, "/v1/pool")
    assert (before[0]["height"], before[0]["state_root"]) == (after[0]["height"], after[0]["state_root"])
    assert before[1] == after[1]
    live.nonces[live.keys[0].address] = 0
    live.pay(0, 1)
    live.nonces[live.keys[0].address] = 0
    replay = live.transfer(0, amount=7)
    assert live.refusal(0, replay).code == "stale_nonce"


def test_a_stranger_on_the_transport_port_is_refused_and_the_network_goes_on(live: LiveNetwork) -> None:
    port = int(live.urls[0].rpartition(":")[2]) + 1_000
    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 600, b"\x00" * 100_000):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
            stranger.sendall(rubbish)
            stranger.settimeout(10)
            try:
                while stranger.recv(4096):
                    pass
            except ConnectionError:
                pass
    live.pay(0, 3)
    assert live.get(0, "/v1/status")["peers"]["connected"] == 3
