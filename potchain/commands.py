"""What a plug-in's commands may use of the program's own: options, output, passwords, keystores and exit codes.

A second public module, because the first, `potchain`, must stay without files and terminals: engines and applications
import it. Commands of plug-ins come through the hook `cli_commands`; with these parts they look and behave like ours.
"""

from potchain.cli.options import (
    ADDRESS,
    AMOUNT,
    FILE,
    FOLDER,
    HASH,
    aligned,
    emit,
    json_option,
    password_from,
    password_option,
    table,
)
from potchain.cli.program import EXIT_FAILED, EXIT_OK, EXIT_TIMEOUT
from potchain.keyfiles import TEST_ITERATIONS, account_file_address, create_account_file, load_account_key

__all__ = [
    "ADDRESS", "AMOUNT", "EXIT_FAILED", "EXIT_OK", "EXIT_TIMEOUT", "FILE", "FOLDER", "HASH", "TEST_ITERATIONS",
    "account_file_address", "aligned", "create_account_file", "emit", "json_option", "load_account_key",
    "password_from", "password_option", "table",
]  # fmt: skip
