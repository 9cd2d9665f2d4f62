"""What refusing other spellings costs: evidence for docs/adr/0003. Run it: python docs/measurements/encode_again.py"""

import timeit

import msgspec

from potchain import ConsensusMessage, NodeId, Proposal, build_proposal, decode, encode

ROUNDS = 7


def best_us(work: object, number: int) -> float:
    return min(timeit.repeat(work, number=number, repeat=ROUNDS)) / number * 1e6  # type: ignore[arg-type]


def main() -> None:
    ids = [number.to_bytes(32, "big") for number in range(1_000)]
    proposal = build_proposal(bytes(32), 0, 1, 1, NodeId(bytes(20)), ids)
    vote = ConsensusMessage(0, "commit", 0, 1, bytes(32), bytes(20), b"", bytes(64))
    for name, kind, value, number in (
        ("a vote", ConsensusMessage, vote, 20_000),
        ("a proposal of 1,000 ids", Proposal, proposal, 500),
    ):
        data = encode(value)
        plain = msgspec.msgpack.Decoder(kind)
        decoding = best_us(lambda: plain.decode(data), number)  # noqa: B023
        encoding = best_us(lambda: encode(value), number)  # noqa: B023
        checked = best_us(lambda: decode(kind, data), number)  # noqa: B023
        print(f"{name:<24} {len(data):6} bytes: decode {decoding:.2f} us, encode {encoding:.2f}, checked {checked:.2f}")


if __name__ == "__main__":
    main()
