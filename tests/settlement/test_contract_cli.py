"""`potchain contract` on a real chain: wallets, funds, deployment, the seed's procedure, deposits, withdrawals, gas."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from settlement_chain import Chain, key_of, owner_keys
from settlement_operator import PASSWORD, Desk, desk_at

from potchain import SigningKey, checksum_address, keccak256
from potchain.keyfiles import load_account_key
from potchain_multisig.operator.gas_report import SEED_REWARD

COIN = 10**18
PAYEE = checksum_address(keccak256(b"payee")[12:])


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with Chain() as running:
        yield running


@pytest.fixture
def desk(chain: Chain, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    with desk_at(tmp_path, chain, capsys) as found:
        yield found


# --- wallets and funds ------------------------------------------------------------------------------------------------


def test_wallets_are_keystores_that_only_their_owner_may_read(desk: Desk) -> None:
    made = desk.run("wallets", "--count", "3", "--out", "w", "--weak")["wallets"]
    assert [Path(wallet["file"]).name for wallet in made] == ["wallet-01.json", "wallet-02.json", "wallet-03.json"]
    assert stat.S_IMODE(Path("w").stat().st_mode) == 0o700
    for wallet in made:
        path = Path(wallet["file"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        key = load_account_key(path, PASSWORD)
        assert checksum_address(key.address) == wallet["address"]
        assert key.secret.hex() not in path.read_text(encoding="utf-8")
    assert sorted(entry.name for entry in desk.folder.iterdir()) == ["w"]


def test_wallets_never_overwrite(desk: Desk) -> None:
    desk.run("wallets", "--count", "1", "--out", "w", "--weak")
    before = Path("w/wallet-01.json").read_bytes()
    assert "w is there already and not empty" in desk.run("wallets", "--count", "1", "--out", "w", "--weak", code=2)
    assert Path("w/wallet-01.json").read_bytes() == before


def test_wallets_need_a_password(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTCHAIN_KEY_PASSWORD", "")
    assert "empty password" in desk.run("wallets", "--count", "2", "--out", "w", "--weak", code=2)
    assert list(desk.folder.iterdir()) == []


def test_fund_brings_accounts_up_to_the_amount_and_no_further(desk: Desk) -> None:
    desk.run("wallets", "--count", "3", "--out", "w", "--weak")
    words = ("fund", "--from", desk.key(key_of("funder"), "funder"), "--to", "w", "--amount", "0.5ether")
    first = desk.on(*words)
    assert (len(first["funded"]), first["unchanged"], first["total"]) == (3, 0, str(3 * COIN // 2))
    assert (desk.on(*words)["funded"], desk.on(*words)["unchanged"]) == ([], 3)
    more = desk.on(*words[:-1], "0.6ether")
    assert [each["sent"] for each in more["funded"]] == [str(COIN // 10)] * 3


def test_fund_plans_all_before_it_sends_one(desk: Desk) -> None:
    desk.run("wallets", "--count", "3", "--out", "w", "--weak")
    poor = desk.key(key_of("poor"), "poor", balance=2 * COIN)
    error = desk.on("fund", "--from", poor, "--to", "w", "--amount", "0.9ether", code=4)
    assert error.startswith("potchain: empty_wallet: send 0.9")
    first = Path("w/wallet-01.json")
    address = checksum_address(load_account_key(first, PASSWORD).address)
    assert desk.chain.call("eth_getBalance", address, "latest") == "0x0"


# --- deployment -------------------------------------------------------------------------------------------------------


def test_deploy_writes_down_what_info_finds(desk: Desk) -> None:
    made = desk.deploy(7, 5)
    assert json.loads(Path("deployment.json").read_text(encoding="utf-8")) == made
    owners = [checksum_address(key.address) for key in owner_keys(7)]
    assert (made["arguments"]["owners"], made["arguments"]["threshold"]) == (owners, 5)
    assert made["chain_id"] == 31337
    assert made["deployer"] == checksum_address(key_of("funder").address)
    found = desk.on("info", "--account", PAYEE)
    assert (found["owners"], found["threshold"], found["epoch"]) == (owners, 5, 0)
    assert (found["next_nonce"], found["next_event_nonce"], found["deposited"]) == (0, 0, "0")
    assert (found["paused"], found["compatible"], found["differences"]) == (False, False, [])
    assert found["account"] == {"address": PAYEE, "rewards": "0"}
    assert desk.on("info", "--contract", made["address"])["owners"] == owners


def test_a_deployment_file_never_holds_the_endpoint(desk: Desk) -> None:
    desk.owners(4)
    words = ("--owners", "owners", "--threshold", "3", "--key", desk.key(key_of("funder"), "funder"))
    url = desk.chain.url.replace("http://", "http://user:secret@") + "/?key=secret"
    made = desk.run("deploy", *words, "--network", url)
    assert made["network"] == desk.chain.url
    assert "secret" not in Path("deployment.json").read_text(encoding="utf-8")


def test_a_named_network_is_proved_by_its_chain_id(desk: Desk) -> None:
    found = desk.run("info", "--network", "bsc:testnet", "--rpc", desk.chain.url, code=2)
    assert found == f"potchain: wrong_chain: bsc:testnet has chain id 97, but {desk.chain.url} serves chain id 31337\n"
    desk.deploy()
    assert desk.run("info", "--network", "ethereum:local", "--rpc", desk.chain.url)["network"] == "ethereum:local"


def test_a_deployment_whose_file_was_lost_is_taken_up(desk: Desk) -> None:
    made = desk.deploy()
    Path("deployment.json").unlink()
    height = desk.chain.call("eth_blockNumber")
    words = ("deploy", "--key", "funder.json", "--threshold", "3", "--transaction", made["transaction_hash"])
    error = desk.on(*words, "--owners", "owners", "--compatible", code=1)
    assert "is no deployment of this contract with these arguments" in error
    assert desk.on(*words, "--owners", "owners") == made
    assert desk.chain.call("eth_blockNumber") == height
    unknown = "0x" + "ab" * 32
    assert "knows no transaction" in desk.on(
        *words[:-1], unknown, "--owners", "owners", "--out", "other.json", code=5
    )


def test_a_dry_run_sends_nothing_and_needs_no_password(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.owners(4)
    key = desk.key(key_of("funder"), "funder")
    monkeypatch.setenv("POTCHAIN_KEY_PASSWORD", "wrong")
    height = desk.chain.call("eth_blockNumber")
    plan = desk.on("deploy", "--owners", "owners", "--threshold", "3", "--key", key, "--dry-run")
    (transaction,) = plan["transactions"]
    assert (plan["dry_run"], transaction["to"], transaction["value"]) == (True, None, "0")
    assert 1_000_000 < transaction["gas_limit"] < 4_000_000
    assert desk.chain.call("eth_blockNumber") == height
    assert not Path("deployment.json").exists()


@pytest.mark.parametrize("strategy", ["auto", "eip1559", "legacy"])
def test_fee_strategies_send_what_they_say(desk: Desk, strategy: str) -> None:
    desk.deploy()
    words = ("deposit", "--amount", "5", "--key", desk.key(key_of("funder"), "funder"), "--fee-strategy", strategy)
    sent = desk.chain.call("eth_getTransactionByHash", desk.on(*words)["transaction"])
    assert isinstance(sent, dict)
    assert sent["type"] == ("0x0" if strategy == "legacy" else "0x2")


# --- the seed's procedure ---------------------------------------------------------------------------------------------


def test_one_owner_pauses_for_a_day(desk: Desk) -> None:
    desk.deploy()
    owner = desk.owners(4)[0]
    assert desk.on("pause", "--key", owner)["until"] > 0
    assert desk.on("info")["paused"] is True
    assert "Paused" in desk.on("deposit", "--amount", "5", "--key", "funder.json", code=4)
    assert "Paused" in desk.on("pause", "--key", owner, code=4)


def test_three_confirmations_credit_a_reward_that_can_be_withdrawn(desk: Desk) -> None:
    desk.deploy(30, 3, "--compatible")
    owners = desk.owners(30)
    desk.on("deposit", "--amount", "1ether", "--key", owners[0])
    proposed = desk.on("propose", "--to", PAYEE, "--amount", "0.25ether", "--key", owners[4])
    assert (proposed["to"], proposed["amount"], proposed["confirmations"]) == (PAYEE, str(COIN // 4), 0)
    index = proposed["index"]
    states = [desk.on("confirm", "--index", index, "--key", owners[number]) for number in (29, 0, 7)]
    assert [state["confirmations"] for state in states] == [1, 2, None]
    assert [state["executed"] for state in states] == [False, False, True]
    assert desk.on("info", "--account", PAYEE)["account"]["rewards"] == str(COIN // 4)
    used = proposed["gas_used"] + sum(state["gas_used"] for state in states)
    assert used < SEED_REWARD


def test_execute_pays_what_could_not_be_paid_with_the_last_confirmation(desk: Desk) -> None:
    desk.deploy(4, 2, "--compatible")
    owners = desk.owners(4)
    index = desk.on("propose", "--to", PAYEE, "--amount", "7", "--key", owners[0])["index"]
    assert "NotConfirmed" in desk.on("execute", "--index", index, "--key", owners[0], code=4)
    states = [desk.on("confirm", "--index", index, "--key", owners[number])["executed"] for number in (1, 2)]
    assert states == [False, False]
    assert desk.on("execute", "--index", index, "--key", owners[0], code=4).startswith("potchain: underfunded: execute")
    desk.on("deposit", "--amount", "7", "--key", owners[0])
    assert desk.on("execute", "--index", index, "--key", owners[3])["executed"] is True
    assert "TransactionAlreadyExecuted" in desk.on("execute", "--index", index, "--key", owners[3], code=4)


def test_the_same_owner_counts_once_and_a_stranger_never(desk: Desk) -> None:
    desk.deploy(4, 3, "--compatible")
    owners = desk.owners(4)
    index = desk.on("propose", "--to", PAYEE, "--amount", "7", "--key", owners[0])["index"]
    desk.on("confirm", "--index", index, "--key", owners[0])
    assert "AlreadyConfirmed" in desk.on("confirm", "--index", index, "--key", owners[0], code=4)
    stranger = desk.key(key_of("stranger"), "stranger")
    error = desk.on("confirm", "--index", index, "--key", stranger, code=4)
    assert error.startswith("potchain: would_revert: confirm: the contract refuses: NotOwner(")
    assert key_of("stranger").address.hex() in error
    assert "NotOwner" in desk.on("propose", "--to", PAYEE, "--amount", "7", "--key", stranger, code=4)


def test_the_compatible_path_is_off_unless_asked_for(desk: Desk) -> None:
    desk.deploy()
    error = desk.on("propose", "--to", PAYEE, "--amount", "7", "--key", desk.owners(4)[0], code=4)
    assert "CompatiblePathOff()" in error


# --- money in and out -------------------------------------------------------------------------------------------------


def credited(desk: Desk, key: SigningKey, amount: int) -> str:
    """A keystore whose account has a reward."""
    desk.deploy(1, 1, "--compatible")
    (owner,) = desk.owners(1)
    desk.on("deposit", "--amount", str(amount), "--key", owner)
    account = checksum_address(key.address)
    index = desk.on("propose", "--to", account, "--amount", str(amount), "--key", owner)["index"]
    assert desk.on("confirm", "--index", index, "--key", owner)["executed"] is True
    return desk.key(key, "payee")


def test_withdraw_draws_everything_or_a_part(desk: Desk) -> None:
    payee = credited(desk, key_of("payee"), 1_000)
    part = desk.on("withdraw", "--amount", "300", "--key", payee)
    assert (part["amount"], part["rewards_left"]) == ("300", "700")
    assert "InsufficientRewards" in desk.on("withdraw", "--amount", "5000", "--key", payee, code=4)
    rest = desk.on("withdraw", "--key", payee)
    assert int(rest["amount"]) + int(rest["rewards_left"]) == 700
    error = desk.on("withdraw", "--key", payee, code=4)
    assert error.startswith("potchain: would_revert: withdraw: contract 0x")
    assert f"has nothing credited to {checksum_address(key_of('payee').address)}; what Merkle roots promised" in error
    assert "`potchain contract claim --proof claim.json`" in error


def test_deposits_have_consecutive_event_nonces(desk: Desk) -> None:
    desk.deploy()
    funder = desk.key(key_of("funder"), "funder")
    numbers = [desk.on("deposit", "--amount", "5", "--account", PAYEE, "--key", funder)["event_nonce"] for _ in "abc"]
    assert numbers == [0, 1, 2]
    found = desk.on("info")
    assert (found["deposited"], found["allocated"], found["balance"]) == ("15", "0", "15")


def test_of_a_token_the_deposit_is_approved_first(desk: Desk, chain: Chain) -> None:
    built = json.loads((Path(__file__).parents[1] / "settlement_doubles.json").read_text(encoding="utf-8"))
    token, _ = chain.deploy(built["DoubleToken"]["bytecode"])
    funder = desk.key(key_of("funder"), "funder")
    words = key_of("funder").address.rjust(32, b"\0") + (90).to_bytes(32, "big")
    chain.transact(token, keccak256(b"mint(address,uint256)")[:4] + words)
    desk.deploy(4, 3, "--token", checksum_address(token))
    assert [desk.on("deposit", "--amount", "40", "--key", funder)["event_nonce"] for _ in "ab"] == [0, 1]
    found = desk.on("info")
    assert (found["token"], found["deposited"], found["balance"]) == (checksum_address(token), "80", "80")
    desk.on("deposit", "--amount", "40", "--key", funder, code=4)
    plan = desk.on("deposit", "--amount", "5", "--key", funder, "--dry-run")
    assert [each["what"] for each in plan["transactions"]] == ["deposit"]  # 40 are approved still


def test_a_book_belongs_to_its_safe(desk: Desk) -> None:
    safe = desk.deploy()["address"]  # any contract will do for an owner
    words = ("--kind", "safe-book", "--safe", safe, "--key", desk.key(key_of("funder"), "funder"))
    made = desk.on("deploy", *words, "--out", "book.json")
    assert (made["kind"], made["contract"], made["arguments"]["safe"]) == ("safe-book", "PotBook", safe)
    found = desk.on("info", "--deployment", "book.json")
    assert (found["owners"], found["threshold"], found["differences"]) == ([safe], 0, [])
    assert desk.on("deposit", "--deployment", "book.json", "--amount", "9", "--key", desk.owners(4)[0])["amount"] == "9"
    assert "PotBook has no proposeTransaction" in desk.on(
        "propose", "--deployment", "book.json", "--to", PAYEE, "--amount", "7", "--key", desk.owners(4)[0], code=4
    )
    nobody = checksum_address(key_of("nobody").address)
    error = desk.on("deploy", "--kind", "safe-book", "--safe", nobody, "--key", words[5], "--out", "other.json", code=1)
    assert f"no code at the Safe's address {nobody}" in error


def test_the_gas_report_keeps_the_projects_promises(desk: Desk) -> None:
    rows = {row["what"]: row for row in desk.run("gas")["rows"]}
    assert len(rows) == 9
    assert all(row["allowed"] is None or row["gas"] <= row["allowed"] for row in rows.values()), rows
    assert all(row["gas"] < row["seed"] for row in rows.values() if row["seed"] is not None)
