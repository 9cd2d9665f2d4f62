"""`potchain settle`, `potchain gov` and `potchain tx withdraw` against a real server over the books of settlement."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from api_browser import on_loop, serving
from api_node import PaperNode
from click.testing import CliRunner, Result
from core_network import key
from settlement_ledger import CONTRACT, Books, operator_key

from potchain.api.ports import SettlementStatus, SubmitOutcome
from potchain.application.settlement import records
from potchain.application.settlement.bodies import Withdraw
from potchain.cli.program import potchain
from potchain.crypto import SigningKey, checksum_address
from potchain.errors import ClientError, CodecError, ConfigError
from potchain.keyfiles import create_account_file
from potchain.primitives import uint256
from potchain.settlement.report import ActionReport, SettlerFault, SettlerReport
from potchain.transactions import Transaction

ALICE = checksum_address(key("alice").address)
SAME = ("--threshold", "3", *(word for number in range(4) for word in (
    "--owner", checksum_address(operator_key(number).address))))  # fmt: skip
OWNERS = [checksum_address(operator_key(number).address) for number in range(4)]


class BusyNode(PaperNode):
    """Every submission becomes a block of its own at once."""

    async def submit(self, transactions: Sequence[Transaction]) -> tuple[SubmitOutcome, ...]:
        outcomes = await super().submit(transactions)
        if self.pooled:
            self.make_block()
        return outcomes


async def run(url: str, *words: str) -> Result:
    """A command against that server."""
    return await asyncio.to_thread(CliRunner().invoke, potchain, [*words, "--url", url])


async def output(url: str, *words: str) -> str:
    result = await run(url, *words)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def keystore(folder: Path, name: str, signing_key: SigningKey) -> list[str]:
    """Options that sign with a key."""
    file, password = folder / f"{name}.json", folder / "password"
    password.write_text("pw")
    create_account_file(file, signing_key, "pw", iterations=1)
    return ["--key", str(file), "--password-file", str(password)]


def bound() -> Books:
    books = Books()
    books.bind()
    return books


@on_loop
async def test_a_withdrawal_is_owed_and_seen(tmp_path: Path) -> None:
    books = bound()
    alice = keystore(tmp_path, "alice", key("alice"))
    async with serving(BusyNode(books.chain)) as browser:
        done = await output(browser.url, "tx", "withdraw", "--amount", "12", "--wait", *alice)
        sent = json.loads(await output(browser.url, "tx", "withdraw", "--amount", "3", "--json", *alice))
        small = await run(browser.url, "tx", "withdraw", "--amount", "0", *alice)
        listed = await output(browser.url, "settle", "payouts", "--account", ALICE)
        pending = json.loads(await output(browser.url, "settle", "payouts", "--status", "pending", "--json"))
        nothing = await output(browser.url, "settle", "payouts", "--status", "paid")
        explained = await output(browser.url, "settle", "explain", "0")
        absent = await run(browser.url, "settle", "explain", "9")
    assert ["result", "ok"] in [line.split() for line in done.splitlines()]
    assert sent["status"] == "accepted"
    assert isinstance(small.exception, ClientError)
    assert small.exception.code == "below_minimum"
    assert [line.split()[:4] for line in listed.splitlines()] == [
        ["id", "status", "account", "amount"], ["1", "pending", ALICE, "3"], ["0", "batched", ALICE, "12"],
    ]  # fmt: skip
    assert [each["amount"] for each in pending] == ["3"]
    assert nothing == "no payouts\n"
    lines = explained.splitlines()
    assert lines[0] == "action 0 is a batch that pays 1 payout (payout 0), 12 base units to 1 account"
    assert lines[-1].split() == [ALICE, "12"]
    assert isinstance(absent.exception, ClientError)
    assert absent.exception.status == 404


@on_loop
async def test_the_picture_says_what_waits_for_a_deposit() -> None:
    books = Books()
    node = PaperNode(books.chain)
    async with serving(node) as browser:
        assert "deposits   0 base units credited" in (await output(browser.url, "settle", "status")).splitlines()
        books.set_term("batch_max", 1)
        books.bind()
        books.withdraw("alice", 1_012)
        books.fund(12)
        waits = "deposits   0 base units credited; 1,000 of what is owed wait for a deposit"
        assert waits in (await output(browser.url, "settle", "status")).splitlines()
        books.fund(1_011)
        waits = "deposits   0 base units credited; 1 of what is owed waits for a deposit"
        assert waits in (await output(browser.url, "settle", "status")).splitlines()


CHEAP = "withdrawals of 1 base unit are taken, and each batch costs the relayer gas; see settlement.minimum_withdrawal"


@on_loop
async def test_the_picture_warns_of_dust_and_of_owners_who_cannot_sign() -> None:
    books = Books()
    async with serving(PaperNode(books.chain)) as browser:
        assert CHEAP not in (await output(browser.url, "settle", "status")).splitlines()
        books.bind()
        dear = (await output(browser.url, "settle", "status")).splitlines()
        books.set_term("minimum_withdrawal", 2)
        calm = (await output(browser.url, "settle", "status")).splitlines()
        books.rotate([operator_key(0), key("alice"), key("bob")], 2)
        foreign = (await output(browser.url, "settle", "status")).splitlines()
    assert CHEAP in dear
    assert CHEAP not in calm
    assert not [line for line in calm if line.startswith("only ")]
    assert foreign[-1] != calm[-1]
    assert (
        "only 1 of 3 owners (epoch 1) is an operator of this ledger, and 2 must sign: what it decides may get too few "
        "signatures"
    ) in foreign


@on_loop
async def test_the_picture_names_who_is_missing_and_what_to_do() -> None:
    books = bound()
    books.withdraw("alice", 12)
    books.sign(0, [operator_key(2)])
    node = PaperNode(books.chain)
    action = ActionReport(
        nonce=0, kind="batch", epoch=0, total=12, signatures=1, threshold=3, signed_here=True, phase="collecting"
    )
    node.settling = SettlementStatus(
        backend="multisig", operator=operator_key(2).address, relay_account=None,
        contract=records.bound_contract(books.state),
        report=SettlerReport(
            state="waiting", head_number=50, confirmed_number=40, next_nonce=0, events_seen=1, funds=1,
            fault=SettlerFault(code="lagging", text="block 50 is 300 s old", since_ms=1), actions=(action,),
            notes=("rpc1: timed out",), paused=True,
        ),
    )  # fmt: skip
    async with serving(node) as browser:
        said = await output(browser.url, "settle", "status")
        document = json.loads(await output(browser.url, "settle", "status", "--json"))
    lines = said.splitlines()
    assert lines[0] == f"contract   {checksum_address(CONTRACT)} (multisig) on chain 97"
    assert lines[1].startswith("owners     3 of 4 sign (epoch 0): ")
    assert lines[2:6] == [
        "pending    0 payouts, 0 base units",
        "batched    1 payout, 12 base units",
        "paid       0 payouts, 0 base units",
        "deposits   0 base units credited, 999,999,999,988 can be withdrawn",
    ]
    assert "layer 2    block 50, confirmed up to 40, 1 event not applied" in lines
    assert "funds      1 base unit in the contract is not allocated" in lines
    assert f"this node  waiting (back end multisig); signs as {OWNERS[2]}, relays nothing" in lines
    assert "fault: lagging: block 50 is 300 s old" in lines
    assert any(line.startswith("  what to do: Wait for the endpoint") for line in lines)
    assert "note: rpc1: timed out" in lines
    assert "the contract is paused" in lines
    assert "  1 of 3 signatures: v2" in lines
    needed = next(line for line in lines if "still needed" in line)
    assert sorted(needed.partition(": ")[2].split(", ")) == ["v0", "v1", "v3"]
    assert "  this node: waits for signatures of owners" in lines
    assert document["settler"]["fault"]["code"] == "lagging"


@on_loop
async def test_the_picture_of_a_ledger_that_settles_nowhere_and_of_one_that_stopped() -> None:
    books = Books()
    async with serving(PaperNode(books.chain)) as browser:
        said = await output(browser.url, "settle", "status")
        books.bind()
        books.pause(1)
        paused = await output(browser.url, "settle", "status")
    assert "none is bound: withdrawals are refused, and what is owed stays on the books" in said
    assert "off (back end ledger); signs nothing, relays nothing" in said
    assert "PAUSED by governance" in paused
    assert "note: a contract is bound, and this node neither signs" in paused
    assert "action 0 is a pause: the contract stops" in paused


@on_loop
async def test_watching_looks_again_until_the_node_is_gone() -> None:
    books = bound()
    async with serving(PaperNode(books.chain)) as browser:
        watching = asyncio.ensure_future(run(browser.url, "settle", "status", "--watch", "--every", "0.1"))
        server = browser
        for _ in range(3):
            books.withdraw("alice", 5)
            await server.get("/v1/settlement")
        asked = 0
        while asked < 6:  # the three of this test, and three of the command
            page = (await server.get("/metrics")).body.decode()
            counts = [line for line in page.splitlines() if line.startswith("potchain_http_requests_total")]
            asked = sum(int(float(line.split()[-1])) for line in counts if 'route="/v1/settlement"' in line)
            await asyncio.sleep(0)
    result = await watching
    assert isinstance(result.exception, ClientError)
    assert result.output.count("contract  ") >= 3


@on_loop
async def test_a_claim_proof_is_written_to_a_file(tmp_path: Path) -> None:
    books = bound()
    books.set_term("root_min", 2)
    for _ in range(2):
        for name in ("alice", "bob"):
            books.collect(key(name), Withdraw, uint256(4), fee=10)
        books.run()
    books.sign(0)
    books.executed(0)
    file = tmp_path / "claim.json"
    async with serving(PaperNode(books.chain)) as browser:
        said = await output(browser.url, "settle", "claim-proof", ALICE, "--out", str(file))
        plain = json.loads(await output(browser.url, "settle", "claim-proof", ALICE))
        assert plain == json.loads(await output(browser.url, "settle", "claim-proof", ALICE, "--binding", "1"))
        explained = await output(browser.url, "settle", "explain", "0")
    assert said.startswith("4 base units in all")
    assert json.loads(file.read_text()) == plain
    assert plain["proof"]
    assert "potchain settle claim-proof ADDRESS" in explained


@on_loop
async def test_operators_bind_what_was_deployed(tmp_path: Path) -> None:
    books = Books()
    operators = [keystore(tmp_path, f"v{number}", operator_key(number)) for number in range(4)]
    deployment = tmp_path / "deployment.json"
    arguments = {"owners": list(reversed(OWNERS)), "threshold": 3, "token": "0x" + "00" * 20, "compatible": False}
    document = {"kind": "multisig", "chain_id": 97, "address": checksum_address(CONTRACT), "block_number": 7}
    deployment.write_text(json.dumps({**document, "arguments": arguments}))
    async with serving(BusyNode(books.chain)) as browser:
        url = browser.url
        bind = ("gov", "propose", "bind-contract", "--deployment", str(deployment), "--wait")
        proposed = await output(url, *bind, *operators[0])
        (proposal,) = json.loads(await output(url, "gov", "list", "--json"))
        listed = await output(url, "gov", "list")
        voted = await output(url, "gov", "vote", proposal["id"], "--yes", "--wait", *operators[1])
        decided = await output(url, "gov", "vote", proposal["id"], "--yes", "--wait", *operators[2])
        late = await run(url, "gov", "vote", proposal["id"], "--no", *operators[3])
        after = await output(url, "gov", "list")
    assert f"others vote: potchain gov vote {proposal['id']} --yes --key KEYSTORE" in proposed
    assert listed.splitlines()[0] == f"{proposal['id']}  GovBindContract  open, 1 of 3 votes"
    assert ["not", "yet"] in [line.split()[:2] for line in listed.splitlines()]
    assert "accepted and done" not in voted
    assert decided.splitlines()[-1] == "accepted and done"
    assert isinstance(late.exception, ClientError)
    assert late.exception.code == "unknown_proposal"
    assert after.splitlines()[0].startswith(f"{proposal['id']}  GovBindContract  applied in block 3")
    contract = records.bound_contract(books.state)
    owners = records.current_owners(books.state)
    assert contract is not None
    assert (contract.address, contract.chain_id, contract.from_block) == (CONTRACT, 97, 7)
    assert owners is not None
    assert (sorted(OWNERS), owners.threshold) == (sorted(map(checksum_address, owners.owners)), 3)


@on_loop
async def test_every_other_proposal_can_be_made(tmp_path: Path) -> None:
    books = bound()
    operator = keystore(tmp_path, "v0", operator_key(0))
    stranger = keystore(tmp_path, "alice", key("alice"))
    proposals = (
        (["set-parameter", "settlement.batch_max", "50"], "GovSetParameter"),
        (["rotate-owners", "--owner", OWNERS[0], "--owner", OWNERS[1], "--threshold", "2"], "GovRotateOwners"),
        (["pause"], "GovPause"),
    )
    async with serving(BusyNode(books.chain)) as browser:
        for words, _ in proposals:
            await output(browser.url, "gov", "propose", *words, "--wait", *operator)
        listed = json.loads(await output(browser.url, "gov", "list", "--json", "--limit", "3"))
        unchanged = await run(browser.url, "gov", "propose", "rotate-owners", *SAME, *operator)
        nobody = await run(browser.url, "gov", "propose", "pause", "--fee", "10", *stranger)
        unknown = await run(browser.url, "gov", "propose", "set-parameter", "colour", "1", *operator)
    assert [each["kind"] for each in listed] == [kind for _, kind in reversed(proposals)]
    assert listed[2]["message"]["key"] == "settlement.batch_max"
    for result, code in ((unchanged, "unchanged"), (nobody, "not_operator"), (unknown, "bad_parameter")):
        assert isinstance(result.exception, ClientError)
        assert result.exception.code == code


@on_loop
async def test_owners_who_are_strangers_to_the_ledger_are_refused_unless_insisted_on(tmp_path: Path) -> None:
    books = Books()
    operator = keystore(tmp_path, "v0", operator_key(0))
    people = [checksum_address(key(name).address) for name in ("alice", "bob")]
    owners = [word for owner in (*OWNERS[:2], *people) for word in ("--owner", owner)]
    bind = ["gov", "propose", "bind-contract", "--chain-id", "97", "--contract", checksum_address(CONTRACT)]
    bind += ["--from-block", "7", *owners, "--wait"]
    rotate = ["gov", "propose", "rotate-owners", *owners, "--threshold"]
    async with serving(BusyNode(books.chain)) as browser:
        url = browser.url
        refused = await run(url, *bind, "--threshold", "3", *operator)
        none_made = json.loads(await output(url, "gov", "list", "--json"))
        await output(url, *bind, "--threshold", "3", "--foreign-owners", *operator)
        await output(url, *bind[:-1], "--threshold", "2", "--wait", *operator)
        books.bind()
        unrotated = await run(url, *rotate, "3", *operator)
        await output(url, *rotate, "3", "--foreign-owners", *operator)
    for result in (refused, unrotated):
        assert isinstance(result.exception, ConfigError)
        said = str(result.exception)
        assert said.startswith("2 of 4 owners are operators of this ledger, and 3 must sign")
        assert all(person in said for person in people)
        assert not any(owner in said for owner in OWNERS)
        assert "--foreign-owners" in said
    assert none_made == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["gov", "propose", "bind-contract", "--chain-id", "9"], "give --contract, --from-block, --owner, --threshold"),
        (["gov", "propose", "rotate-owners", "--threshold", "2"], "give every owner"),
        (["gov", "propose", "rotate-owners", "--owner", ALICE, "--owner", ALICE, "--threshold", "2"], "given twice"),
        (["gov", "vote", "0x" + "00" * 32], "say --yes or --no"),
        (["gov", "propose", "set-parameter", "base_fee", "-1"], "base_fee"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(tmp_path: Path, words: list[str], complaint: str) -> None:
    result = CliRunner().invoke(potchain, [*words, *keystore(tmp_path, "v0", operator_key(0))])
    assert result.exit_code == 2
    if complaint != "base_fee":
        assert complaint in result.output


def deployed(**members: object) -> bytes:
    arguments = {"owners": OWNERS, "threshold": 3}
    document = {"kind": "multisig", "chain_id": 97, "address": checksum_address(CONTRACT), "block_number": 7}
    return json.dumps({**document, "arguments": arguments, **members}).encode()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"no", "it is not JSON"),
        (bytes(range(256)) * 40, "it is not JSON"),
        (b"{}", "it has no member 'kind'"),
        (b"[1]", "it has no member 'kind'"),
        (b'{"kind": "castle", "arguments": {}}', "kind: one of multisig, safe-book is wanted, not 'castle'"),
        (deployed(kind=["multisig"]), "kind: one of multisig, safe-book is wanted, not ['multisig']"),
        (deployed(chain_id="97"), "chain_id: a number from 0 to 9223372036854775807 is wanted, not '97'"),
        (deployed(block_number=-1), "block_number: a number from 0 to 9223372036854775807 is wanted, not -1"),
        (deployed(block_number=True), "block_number: a number from 0 to 9223372036854775807 is wanted, not True"),
        (deployed(address=5), "address: an address is wanted, not 5"),
        (deployed(arguments=[]), "it has no member 'arguments.owners'"),
        (deployed(arguments={"owners": OWNERS}), "it has no member 'arguments.threshold'"),
        (deployed(arguments={"owners": {}}), "arguments.owners: a list of addresses is wanted, not {}"),
        (deployed(arguments={"owners": OWNERS[:1] * 2}), "arguments.owners: an owner stands twice"),
        (deployed(kind="safe-book", arguments={"safe": None}), "arguments.safe: an address is wanted, not None"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_deployment_is_named_with_the_member(tmp_path: Path, content: bytes, complaint: str) -> None:
    file = tmp_path / "other.json"
    file.write_bytes(content)
    words = ["gov", "propose", "bind-contract", "--deployment", str(file), *keystore(tmp_path, "v0", operator_key(0))]
    result = CliRunner().invoke(potchain, words)
    assert isinstance(result.exception, CodecError)
    assert str(result.exception) == f"{file} is no deployment file of `potchain contract deploy`: {complaint}"


def test_a_wrong_member_of_a_deployment_is_shown_in_part(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    words = ["gov", "propose", "bind-contract", "--deployment", str(file), *keystore(tmp_path, "v0", operator_key(0))]
    for wrong in ({"address": "0x" + "f" * 9_999}, {"chain_id": "9" * 9_999}, {"kind": "k" * 9_999}):
        file.write_bytes(deployed(**wrong))
        said = str(CliRunner().invoke(potchain, words).exception)
        assert f"{next(iter(wrong))}: " in said
        assert len(said) < len(str(file)) + 300
