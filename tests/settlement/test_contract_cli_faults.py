"""`potchain contract` and what an operator, an endpoint or a chain can get wrong: it is named, and nothing is sent."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from settlement_chain import Chain, key_of, owner_keys
from settlement_operator import RICH, Desk, desk_at

from potchain import SettlementError, checksum_address
from potchain_multisig.operator.calling import DeployedContract
from potchain_multisig.operator.devnet import Devnet, DevnetOptions, find_anvil
from potchain_multisig.operator.network import CHAIN_IDS, TEST_CHAINS, FeeOptions, connect
from potchain_multisig.operator.sending import Sender, coins

WAIT_S = 10
NOBODY_URL = "http://127.0.0.1:9"
PAYEE = checksum_address(key_of("payee").address)


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with Chain() as running:
        yield running


@pytest.fixture
def desk(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with desk_at(tmp_path, chain, capsys) as found:
        yield found


@pytest.fixture
def liar() -> Iterator[HTTPServer]:
    """An HTTP server that answers every call with `body` and `status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(self.server.status)  # type: ignore[attr-defined]
            self.end_headers()
            self.wfile.write(self.server.body)  # type: ignore[attr-defined]

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


# --- what the operator wrote ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owners", "threshold", "words", "message"),
    [
        (["owners"], 5, [], "a threshold of 5 with 4 owners; it must be 1 to 4"),
        (["owners", "owners"], 3, [], "is named twice"),
        (["0x" + "00" * 20], 1, [], "the zero address can be no owner"),
        (["nothing"], 1, [], "no file or folder has that name"),
        (["list.txt"], 1, [], "list.txt, line 3: "),
        (["empty.txt"], 1, [], "empty.txt names no address"),
        (["empty"], 1, [], "empty holds no keystores"),
        (["many.txt"], 3, [], "256 owners; the contract takes 1 to 255"),
        (["many.txt"], 3, ["--compatible"], "256 owners; the contract takes 1 to 208 on its compatible path"),
        (["owners"], 3, ["--safe", PAYEE], "takes --owners and --threshold, and no --safe"),
        (["owners"], 3, ["--kind", "safe-book"], "--kind safe-book takes --safe"),
        (["owners"], 3, ["--token", PAYEE], f"there is no code at the token's address {PAYEE}"),
    ],
)
def test_owners_that_the_contract_would_refuse_are_told_before_anything_is_sent(
    desk: Desk, owners: list[str], threshold: int, words: list[str], message: str
) -> None:
    desk.owners(4)
    Path("list.txt").write_text(f"# operators\n{PAYEE}  # first\n0x123\n")
    Path("empty.txt").write_text("# nobody yet\n")
    Path("empty").mkdir()
    Path("many.txt").write_text("".join(f"0x{number:040x}\n" for number in range(1, 257)))
    height = desk.chain.call("eth_blockNumber")
    key = desk.key(key_of("funder"), "funder")
    chosen = [word for owner in owners for word in ("--owners", owner)]
    code = 1 if "--token" in words else 2
    assert message in desk.on("deploy", *chosen, "--threshold", str(threshold), "--key", key, *words, code=code)
    assert desk.chain.call("eth_blockNumber") == height


def test_a_wrong_password_is_told_before_anything_is_sent(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.deploy()
    monkeypatch.setenv("POTCHAIN_KEY_PASSWORD", "guess")
    height = desk.chain.call("eth_blockNumber")
    error = desk.on("deposit", "--amount", "5", "--key", "funder.json", code=2)
    assert error == "potchain: wrong password for funder.json\n"
    assert desk.chain.call("eth_blockNumber") == height


def test_a_deployment_file_is_never_overwritten(desk: Desk) -> None:
    desk.deploy()
    before = Path("deployment.json").read_bytes()
    height = desk.chain.call("eth_blockNumber")
    words = ("--owners", "owners", "--threshold", "3", "--key", "funder.json")
    assert "deployment.json is there already" in desk.on("deploy", *words, code=2)
    assert (Path("deployment.json").read_bytes(), desk.chain.call("eth_blockNumber")) == (before, height)


@pytest.mark.parametrize(
    ("amount", "wei"), [("7", 7), ("1_000", 1_000), ("3gwei", 3 * 10**9), ("0.5ether", 5 * 10**17), ("2 wei", 2)]
)
def test_amounts_have_units(desk: Desk, amount: str, wei: int) -> None:
    words = ("--from", desk.key(key_of("funder"), "funder"), "--to", PAYEE, "--amount", amount)
    assert desk.on("fund", *words)["total"] == str(wei)


@pytest.mark.parametrize("amount", ["", "-1", "1.5", "0.0000000001gwei", "5 eth", "ten", "1e30", "9" * 80])
def test_what_is_no_amount_names_itself(desk: Desk, amount: str) -> None:
    words = ("--from", desk.key(key_of("funder"), "funder"), "--to", PAYEE, f"--amount={amount}")
    assert repr(amount) in desk.on("fund", *words, code=2)


@pytest.mark.parametrize(
    ("amount", "shown"), [(0, "0"), (5 * 10**17, "0.5"), (1, "0." + "0" * 17 + "1"), (RICH, "1,000")]
)
def test_coins_are_shown_exactly(amount: int, shown: str) -> None:
    assert coins(amount) == shown


# --- the wrong place --------------------------------------------------------------------------------------------------


def test_no_endpoint_and_no_chain_are_named(desk: Desk) -> None:
    assert desk.run("info", "--network", NOBODY_URL, code=3).startswith(f"potchain: unreachable: {NOBODY_URL} does not")
    error = desk.run("info", "--network", "bsc:testnet", code=2)
    assert error.startswith("potchain: not_configured: no endpoint for bsc:testnet: give its URL with --rpc")
    assert "unknown network 'bsc:tetsnet'; known: " in desk.run("info", "--network", "bsc:tetsnet", code=2)
    assert "begins with http://" in desk.run("info", "--network", "ftp://127.0.0.1", code=2)


def test_an_address_without_code_and_a_foreign_contract(desk: Desk) -> None:
    error = desk.on("info", "--contract", PAYEE, code=1)
    assert error.startswith(f"potchain: wrong_contract: there is no code at {PAYEE}")
    made = desk.deploy()
    error = desk.on("info", "--contract", made["address"], "--kind", "safe-book", code=1)
    assert "are not this version's PotBook" in error
    assert "there is no deployment file other.json" in desk.on("info", "--deployment", "other.json", code=2)
    Path("other.json").write_text("{}")
    assert "other.json is no deployment file" in desk.on("info", "--deployment", "other.json", code=2)


def test_a_deployment_of_another_chain_is_refused(desk: Desk) -> None:
    desk.deploy()
    text = Path("deployment.json").read_text(encoding="utf-8")
    Path("deployment.json").write_text(text.replace('"chain_id": 31337', '"chain_id": 97'), encoding="utf-8")
    assert desk.on("info", code=2).startswith("potchain: wrong_chain: deployment.json is of chain id 97")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("block_number", -1), ("block_number", 2**53), ("chain_id", 0), ("chain_id", 10**26), ("gas_used", -5),
        ("block_hash", "0x12"), ("transaction_hash", "rubbish"), ("address", "0x12"), ("address", PAYEE.swapcase()),
        ("deployer", ""), ("arguments.threshold", 256), ("arguments.token", "0x" + "zz" * 20),
        ("arguments.owners[1]", "0x"),
    ],
)  # fmt: skip
def test_a_deployment_file_out_of_range_is_named_with_its_member(desk: Desk, member: str, value: object) -> None:
    made = desk.deploy()
    if member == "arguments.owners[1]":
        made["arguments"]["owners"][1] = value
    elif member.startswith("arguments."):
        made["arguments"][member.partition(".")[2]] = value
    else:
        made[member] = value
    Path("deployment.json").write_text(json.dumps(made))
    error = desk.on("info", code=2)
    assert error.startswith("potchain: deployment.json is no deployment file: ")
    assert f"at `$.{member}`" in error
    assert error.count("\n") == 1


def test_info_says_in_what_the_contract_differs(desk: Desk) -> None:
    desk.deploy()
    text = Path("deployment.json").read_text(encoding="utf-8")
    changed = text.replace('"threshold": 3', '"threshold": 2').replace('"artifact_hash": "0x', '"artifact_hash": "0xf')
    Path("deployment.json").write_text(changed, encoding="utf-8")
    desk.on_differs("threshold: 3, deployment file: 2", "artifact: ")


@pytest.mark.parametrize(
    ("body", "status", "code", "message"),
    [
        (b"<html>hello</html>", 200, 4, "rubbish: "),
        (b"", 200, 4, "rubbish: "),
        (b"[]", 200, 4, "rubbish: "),
        (b'{"jsonrpc":"2.0","id":1}', 200, 4, "rubbish: "),
        (b'{"jsonrpc":"2.0","id":1,"result":null}', 200, 4, "rubbish: "),
        (b'{"jsonrpc":"2.0","id":1,"result":31337}', 200, 4, "rubbish: "),
        (b'{"jsonrpc":"2.0","id":1,"result":"0xzz"}', 200, 4, "rubbish: "),
        (b'{"jsonrpc":"2.0","id":1,"result":"0x' + b"1" * 65 + b'"}', 200, 4, "rubbish: "),
        (b'{"jsonrpc":"2.0","id":1,"result":"\xff"}', 200, 4, "rubbish: "),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"no more today"}}', 200, 4, "refused: "),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"no more today"}}', 429, 4, "refused: "),
        (b"forbidden", 403, 3, "answers HTTP 403"),
        (b"bad gateway", 502, 3, "answers HTTP 502"),
    ],
)
def test_an_endpoint_that_answers_rubbish(
    desk: Desk, liar: HTTPServer, body: bytes, status: int, code: int, message: str
) -> None:
    liar.body, liar.status = body, status  # type: ignore[attr-defined]
    error = desk.run("info", "--contract", PAYEE, "--network", f"http://127.0.0.1:{liar.server_port}/secret", code=code)
    assert message in error
    assert "/secret" not in error
    assert error.count("\n") == 1


# --- money ------------------------------------------------------------------------------------------------------------


def test_an_empty_wallet_is_named_with_what_it_would_need(desk: Desk) -> None:
    desk.deploy()
    poor = desk.key(key_of("poor"), "poor", balance=10**15)
    error = desk.on("deposit", "--amount", "1ether", "--key", poor, code=4)
    assert error.startswith("potchain: empty_wallet: deposit: ")
    error = desk.on("deposit", "--amount", "0.00099ether", "--key", poor, code=4)
    assert f"{checksum_address(key_of('poor').address)} holds 0.001, and may need 0.00" in error


def test_a_fee_above_the_cap_is_not_paid(desk: Desk) -> None:
    desk.deploy()
    error = desk.on("deposit", "--amount", "5", "--key", "funder.json", "--fee-cap", "0.1gwei", code=4)
    assert error.startswith("potchain: gas_too_dear: the chain asks ")
    desk.on("deposit", "--amount", "5", "--key", "funder.json", "--fee-cap", "50gwei")


def test_a_transaction_that_is_not_mined_in_time_is_named(desk: Desk) -> None:
    desk.deploy()
    desk.chain.call("evm_setAutomine", False)
    try:
        error = desk.on("deposit", "--amount", "5", "--key", "funder.json", "--timeout", "0", code=5)
    finally:
        desk.chain.call("evm_setAutomine", True)
    assert error.count("\n") == 2  # what was sent, and that it was not mined
    assert "potchain: not_mined: deposit: transaction 0x" in error
    desk.chain.call("anvil_mine", "0x1")
    assert desk.on("info")["deposited"] == "5"


def test_confirmations_are_waited_for(desk: Desk) -> None:
    desk.deploy()
    words = ("deposit", "--amount", "5", "--key", "funder.json", "--confirmations", "3", "--timeout", "2")
    error = desk.on(*words, code=5)
    assert "1 of 3 confirmations" in error
    assert "is mined, but not deep enough" in error


def test_a_transaction_that_was_mined_and_refused_tells_why(desk: Desk) -> None:
    made = desk.deploy(1, 1, "--compatible")
    (owner,) = desk.owners(1)
    index = int(desk.on("propose", "--to", PAYEE, "--amount", "5", "--key", owner)["index"], 16)
    network = connect(desk.chain.url, None)
    contract = DeployedContract(network, bytes.fromhex(made["address"][2:]), "multisig")
    key = owner_keys(1)[0]
    sender = Sender(network, key.address, key, FeeOptions(), print)
    plans = [contract.plan(sender, what, "confirmTransaction(uint256)", index) for what in ("first", "second")]
    first, second = [sender.send(plan) for plan in plans]  # each would have passed alone
    sender.wait(first, 1, WAIT_S, "first", contract.artifact)
    with pytest.raises(SettlementError, match=r"second: transaction 0x.* was mined in block .* and refused") as caught:
        sender.wait(second, 1, WAIT_S, "second", contract.artifact)
    assert caught.value.code == "would_revert"


# --- chains whose coins have a value ----------------------------------------------------------------------------------


def test_where_coins_have_a_value_nothing_is_sent_unless_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Chain(chain_id=56) as chain, desk_at(tmp_path, chain, capsys) as desk:
        assert connect(chain.url, None).has_value
        monkeypatch.setenv("POTCHAIN_RPC_URL", chain.url)
        desk.owners(4)
        words = ("--owners", "owners", "--threshold", "3", "--key", desk.key(key_of("funder"), "funder"))
        plan = desk.run("deploy", *words, "--network", "bsc:mainnet")
        assert (plan["dry_run"], plan["chain_id"], Path("deployment.json").exists()) == (True, 56, False)
        assert chain.height() == 0
        made = desk.run("deploy", *words, "--network", "bsc:mainnet", "--broadcast")
        assert (made["network"], made["chain_id"]) == ("bsc:mainnet", 56)


def test_unknown_chains_count_as_real() -> None:
    assert all(CHAIN_IDS[name] not in TEST_CHAINS for name in CHAIN_IDS if name.endswith(":mainnet"))
    assert all(CHAIN_IDS[name] in TEST_CHAINS for name in CHAIN_IDS if not name.endswith(":mainnet"))
    with Devnet(find_anvil(), DevnetOptions(port=0, chain_id=424_242)) as chain:
        assert connect(chain.url, None).has_value
