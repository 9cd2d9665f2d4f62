"""An operator's folder beside a real chain: keystores with few rounds, a funded key, commands run in this process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from settlement_chain import Chain, key_of, owner_keys

from potchain import SigningKey, checksum_address, cli
from potchain.keyfiles import TEST_ITERATIONS, create_account_file
from potchain_multisig.operator.devnet import Devnet

PASSWORD = "only for tests"
RICH = 10**21


class Desk:
    """Where the operator sits: runs `potchain contract ...` against one chain."""

    def __init__(self, folder: Path, chain: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.chain = chain
        self._capsys = capsys

    def key(self, key: SigningKey, name: str, *, balance: int = RICH) -> str:
        """A keystore of that key, with coins; its path."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            create_account_file(path, key, PASSWORD, iterations=TEST_ITERATIONS)
        self.chain.give(checksum_address(key.address), balance)
        return str(path)

    def owners(self, count: int) -> list[str]:
        """Keystores of owners, sorted by address, in a folder `owners`."""
        (self.folder / "owners").mkdir(exist_ok=True)
        return [self.key(key, f"owners/{number:02d}") for number, key in enumerate(owner_keys(count))]

    def run(self, *words: str, code: int = 0) -> Any:  # noqa: ANN401 - a JSON document
        """A command with --json that must end with that code; its document, or the error's line."""
        ended = cli.main(["contract", *words, "--json"])
        out, err = self._capsys.readouterr()
        assert ended == code, (words, err)
        return json.loads(out) if code == 0 else err

    def on(self, *words: str, code: int = 0) -> Any:  # noqa: ANN401
        """The same, with the chain's address."""
        return self.run(*words, "--network", self.chain.url, code=code)

    def on_differs(self, *messages: str) -> None:
        """`info` must end with code 1 and say these differences."""
        assert cli.main(["contract", "info", "--network", self.chain.url, "--json"]) == 1
        found = json.loads(self._capsys.readouterr().out)["differences"]
        assert all(any(message in each for each in found) for message in messages), found

    def deploy(self, count: int = 4, threshold: int = 3, *more: str) -> Any:  # noqa: ANN401
        """A contract of the first owners; writes deployment.json."""
        self.owners(count)
        words = ("--owners", "owners", "--threshold", str(threshold), "--key", self.key(key_of("funder"), "funder"))
        return self.on("deploy", *words, *more)


@contextmanager
def desk_at(folder: Path, chain: Chain, capsys: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """A fresh folder as the working directory, the password in the environment, and the chain as it was afterwards."""
    snapshot = chain.rpc("evm_snapshot")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("POTCHAIN_KEY_PASSWORD", PASSWORD)
        for variable in ("POTCHAIN_NETWORK", "POTCHAIN_RPC_URL", "POTCHAIN_DEPLOYMENT"):
            patch.delenv(variable, raising=False)
        yield Desk(folder, chain.devnet, capsys)
    chain.rpc("evm_revert", snapshot)
