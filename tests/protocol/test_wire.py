"""Rule: what fits its bounds goes over the wire and comes back equal; what doesn't is refused in both directions."""

import contextlib
import dataclasses
import importlib.util
import sys
from enum import IntEnum
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from google.protobuf.descriptor import FieldDescriptor as D
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gpufair.protocol import fields as f
from gpufair.protocol import messages, wire
from gpufair.protocol.edge import calls
from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.v1 import documents_pb2, services_pb2

_SPEC = importlib.util.spec_from_file_location("protocol_strategies", Path(__file__).with_name("strategies.py"))
made = sys.modules["protocol_strategies"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(made)

PROTO = {**documents_pb2.DESCRIPTOR.message_types_by_name, **services_pb2.DESCRIPTOR.message_types_by_name}
ENUMS = dict(documents_pb2.DESCRIPTOR.enum_types_by_name)
WRAPPERS = {"Empty", "StreamUp", "StreamDown"}  # no fields, or a oneof that `wire.wrap` fills
SCALARS = {str: D.TYPE_STRING, bytes: D.TYPE_BYTES, bool: D.TYPE_BOOL, int: D.TYPE_INT64}
SLOW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])

by_kind = pytest.mark.parametrize("kind", made.KINDS, ids=lambda kind: kind.__name__)


def test_every_proto_message_has_its_dataclass_and_the_other_way_round():
    assert {kind.__name__ for kind in made.KINDS} | WRAPPERS == set(PROTO)


@by_kind
def test_a_reader_may_fill_the_slots_itself(kind):
    """It passes `__init__` by, so a message may have nothing that only that would do."""
    assert "__dict__" not in dir(kind)
    assert not hasattr(kind, "__post_init__")
    assert all(field.init for field in dataclasses.fields(kind))


@by_kind
def test_fields_have_the_protos_names_order_and_types(kind):
    described = sorted(PROTO[kind.__name__].fields, key=lambda field: field.number)
    assert [field.number for field in described] == list(range(1, len(described) + 1))
    assert [field.name for field in described] == [field.name for field in dataclasses.fields(kind)]
    for field, hint in zip(described, made.hints(kind).values(), strict=True):
        plain, _ = made.parts(hint)
        plain = made.inner(plain) or plain
        assert field.is_repeated == (get_origin(plain) is tuple)
        plain, _ = made.parts(get_args(plain)[0]) if get_origin(plain) is tuple else (plain, ())
        if plain in SCALARS:
            assert field.type == SCALARS[plain]
        elif issubclass(plain, IntEnum):
            assert field.enum_type.name == plain.__name__
        else:
            assert field.message_type.name == plain.__name__


def test_enums_have_the_protos_names_and_numbers():
    ours = {name: kind for name, kind in vars(messages).items() if isinstance(kind, type) and issubclass(kind, IntEnum)}
    assert set(ours) == set(ENUMS)
    for name, kind in ours.items():
        prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in name).lstrip("_") + "_"
        assert {value.name: value.number for value in ENUMS[name].values} == {
            prefix + one.name: one.value for one in kind
        }
        assert kind(0).name == "UNSPECIFIED"


def test_the_oneofs_hold_the_stream_messages():
    for wrapper, union in (("StreamUp", messages.Up), ("StreamDown", messages.Down)):
        assert {field.message_type.name for field in PROTO[wrapper].fields} == {one.__name__ for one in get_args(union)}


@by_kind
@SLOW
@given(data=st.data())
def test_there_and_back(kind, data):
    message = data.draw(made.instances(kind))
    encoded = wire.encode(message)
    assert wire.decode(kind, encoded) == message
    assert wire.encode(wire.decode(kind, encoded)) == encoded


@SLOW
@given(data=st.data())
def test_stream_messages_there_and_back(data):
    up = data.draw(st.one_of(made.instances(kind) for kind in get_args(messages.Up)))
    down = data.draw(st.one_of(made.instances(kind) for kind in get_args(messages.Down)))
    assert calls.decode_up(calls.encode_up(up)) == up
    assert calls.decode_down(calls.encode_down(down)) == down


@by_kind
@SLOW
@given(data=st.data())
def test_any_bytes_are_a_message_or_a_peers_fault(kind, data):
    """Random bytes, and a true message with one bit flipped: never another exception than PeerError."""
    encoded = bytearray(wire.encode(data.draw(made.instances(kind))))
    if encoded:
        bit = data.draw(st.integers(0, len(encoded) * 8 - 1))
        encoded[bit // 8] ^= 1 << bit % 8
    for blob in (bytes(encoded), data.draw(st.binary(max_size=200))):
        with contextlib.suppress(PeerError):
            found = wire.decode(kind, blob)
            assert wire.decode(kind, wire.encode(found)) == found


@given(st.binary(max_size=300))
def test_any_bytes_in_a_stream(blob):
    for decode in (calls.decode_up, calls.decode_down, calls.decode_part):
        with contextlib.suppress(PeerError):
            decode(blob)


def outside(hint: Any) -> list[Any]:
    """Values just beyond a field's bounds, which protobuf itself would carry."""
    plain, checks = made.parts(hint)
    found: list[Any] = []
    for check in checks:
        if isinstance(check, f.Range):
            found += [n for n in (check.low - 1, check.high + 1) if -(2**63) <= n < 2**63]
        elif isinstance(check, f.Size) and get_origin(plain) is not tuple:
            blank: Any = b"x" if plain is bytes else "x"
            found += [blank * n for n in (check.low - 1, check.high + 1) if n >= 0 and not (n == 0 and check.or_empty)]
        elif isinstance(check, f.Printable):
            found += ["a\nb", "\x1b[2J", "\u202eabc", "a\0"]
        elif isinstance(check, f.IsDid):
            found += ["", "did:key:", "did:web:example.com", made.DIDS[0] + "x" * 40] + (
                ["*"] if not check.broadcast else []
            )
    if isinstance(plain, type) and issubclass(plain, IntEnum):
        found += [0, max(plain) + 1, -1]
    return found


@by_kind
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_just_outside_the_bounds(kind, data):
    """Refused on the way out, and, written by somebody who doesn't ask, refused on the way in."""
    good = data.draw(made.instances(kind))
    for name, hint in made.hints(kind).items():
        for bad in outside(hint):
            with pytest.raises(LocalError):
                wire.encode(dataclasses.replace(good, **{name: bad}))
            generated = wire.to_generated(good)
            setattr(generated, name, bad)
            with pytest.raises(PeerError):
                wire.decode(kind, generated.SerializeToString())


@by_kind
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_too_many_and_too_few_items(kind, data):
    good = data.draw(made.instances(kind))
    for name, hint in made.hints(kind).items():
        plain, checks = made.parts(hint)
        size = next((check for check in checks if isinstance(check, f.Size)), None)
        if get_origin(plain) is not tuple or size is None:
            continue
        item = data.draw(made.values(get_args(plain)[0]))
        for count in {size.low - 1, size.high + 1} - {-1}:
            with pytest.raises(LocalError):
                wire.encode(dataclasses.replace(good, **{name: (item,) * count}))


@by_kind
@settings(max_examples=1, deadline=None)
@given(data=st.data())
def test_a_part_that_is_missing(kind, data):
    """A message within a message may be left out only where it is optional."""
    good = data.draw(made.instances(kind))
    generated = wire.to_generated(good)
    needed = [
        name for name, hint in made.hints(kind).items() if isinstance(hint, type) and dataclasses.is_dataclass(hint)
    ]
    for name in needed:
        less = type(generated)()
        less.CopyFrom(generated)
        less.ClearField(name)
        with pytest.raises(PeerError, match=f"lacks {name}"):
            wire.decode(kind, less.SerializeToString())


@pytest.mark.parametrize("bad", [True, 1.0, "1", None, float("nan"), b"1"])
def test_a_number_is_an_int_and_nothing_else(bad):
    with pytest.raises(LocalError):
        wire.encode(messages.Lock(bad, bytes(32)))


@given(number=st.integers())
def test_money_is_within_its_bounds(number):
    lock = messages.Lock(number, bytes(32))
    if 1 <= number <= 10**15:
        assert wire.decode(messages.Lock, wire.encode(lock)) == lock
    else:
        with pytest.raises(LocalError):
            wire.encode(lock)


def test_text_that_is_not_utf_8():
    generated = wire.to_generated(messages.Closing("abc")).SerializeToString()
    with pytest.raises(PeerError):
        wire.decode(messages.Closing, generated.replace(b"abc", b"a\xffc"))


def test_a_field_of_a_later_version_is_passed_over():
    """A newer peer's message is still understood; only its unknown field is lost, and signatures are over the bytes."""
    lock = messages.Lock(5, bytes(32))
    assert wire.decode(messages.Lock, wire.encode(lock) + b"\xfa\x01\x02hi") == lock


@given(data=st.data())
def test_different_messages_have_different_bytes(data):
    kind = data.draw(st.sampled_from(made.KINDS))
    one, other = data.draw(made.instances(kind)), data.draw(made.instances(kind))
    assume(one != other)
    assert wire.encode(one) != wire.encode(other)
