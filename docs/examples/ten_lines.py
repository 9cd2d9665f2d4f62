"""A client that is not ours: python ten_lines.py KEYSTORE PASSWORD_FILE TO AMOUNT URL; prints the proof.

It knows nothing of potchain but what the node says at /v1/chain, and needs eth-account and the standard library only.
"""

import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from eth_account import Account

keystore, password_file, to, amount, url = sys.argv[1:]
secret = Account.decrypt(Path(keystore).read_text(), Path(password_file).read_text().strip())
account, chain = Account.from_key(secret), json.load(urlopen(url + "/v1/chain"))
nonce = json.load(urlopen(f"{url}/v1/accounts/{account.address}"))["next_nonce"]
message = {"from": account.address, "nonce": nonce, "fee": chain["limits"]["base_fee"], "validUntil": 0}
message |= {"to": to, "amount": amount, "memo": "0x"}
typed = {"types": chain["types"]["Transfer"], "primaryType": "Transfer", "domain": chain["domain"], "message": message}
signature = "0x" + bytes(account.sign_typed_data(full_message=typed).signature).hex()
body = json.dumps({"kind": "Transfer", "message": message, "signature": signature}).encode()
print(json.dumps(json.load(urlopen(Request(url + "/v1/transactions?wait=final", body)))["proof"]))
