"""The JSON form of canonical structures, for files that people pass on: proofs, recoveries.

Bytes are 0x and lower-case hex, structs are objects with exactly their members, in any order. Reading checks the shape
and the types; what the values mean is the reader's business. Every refusal is a CodecError that names the member.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from potchain.codec import Canonical, decode, encode
from potchain.errors import CodecError

C = TypeVar("C", bound=Canonical)


def to_json(value: Any) -> Any:  # noqa: ANN401 - the edge: any field of a structure out
    """A structure, or a value in one, as JSON."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple):
        return [to_json(entry) for entry in value]
    if isinstance(value, msgspec.Struct):
        return {name: to_json(getattr(value, name)) for name in value.__struct_fields__}
    return value


def from_json(kind: type[C], document: object, what: str) -> C:
    """The structure of that type; `what` names it in errors. Raises CodecError."""
    values = _unrendered(inspect.type_info(kind), document, what)
    try:
        proof = msgspec.convert(values, kind, builtin_types=(bytes,))
        decode(kind, encode(proof))  # integers that MessagePack cannot hold, text that is not UTF-8
    except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError) as fault:
        raise CodecError(f"{kind.__name__}: {fault}") from None
    return proof


def _unrendered(kind: inspect.Type, value: Any, at: str) -> Any:  # noqa: ANN401 - the edge: JSON in
    """JSON values as msgspec's own: hex becomes bytes, objects become positional lists."""
    match kind:
        case inspect.Metadata():
            return _unrendered(kind.type, value, at)
        case inspect.UnionType():
            present = next(option for option in kind.types if not isinstance(option, inspect.NoneType))
            return None if value is None else _unrendered(present, value, at)
        case inspect.StructType():
            names = [field.name for field in kind.fields]
            if not isinstance(value, dict) or set(value) != set(names):
                raise CodecError(f"{at} must be an object with the members {', '.join(names)}")
            return [_unrendered(field.type, value[field.name], f"{at}.{field.name}") for field in kind.fields]
        case inspect.VarTupleType():
            if not isinstance(value, list):
                raise CodecError(f"{at} must be a list")
            return [_unrendered(kind.item_type, entry, f"{at}[{place}]") for place, entry in enumerate(value)]
        case inspect.TupleType():
            if not isinstance(value, list) or len(value) != len(kind.item_types):
                raise CodecError(f"{at} must be a list of {len(kind.item_types)}")
            return [
                _unrendered(option, entry, f"{at}[{place}]")
                for place, (option, entry) in enumerate(zip(kind.item_types, value, strict=True))
            ]
        case inspect.BytesType():
            return _bytes(value, at)
    return value


def _bytes(value: object, at: str) -> bytes:
    if isinstance(value, str) and value.startswith("0x"):
        try:
            data = bytes.fromhex(value[2:])
        except ValueError:
            data = b""
        if "0x" + data.hex() == value:
            return data
    raise CodecError(f"{at} must be 0x and lower-case hex digits, not {value!r:.80}")
