"""Rule: only `host:port` becomes an address; nothing that a peer writes reaches a socket file, a scheme or everyone."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.errors import Fault, LocalError, PeerError

DID = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("node.example:50551", "node.example", 50551),
        ("Node.Example:1", "node.example", 1),
        ("localhost:65535", "localhost", 65535),
        ("my_rig-7:50551", "my_rig-7", 50551),
        ("127.0.0.1:50551", "127.0.0.1", 50551),
        ("[::1]:50551", "::1", 50551),
        ("[2001:DB8:0:0::1]:443", "2001:db8::1", 443),
        ("[::ffff:10.0.0.1]:443", "::ffff:10.0.0.1", 443),
        ("xn--bcher-kva.example:443", "xn--bcher-kva.example", 443),
    ],
)
def test_addresses(text, host, port):
    found = Endpoint.parse(text)
    assert (found.host, found.port) in {(host, port), ("::ffff:a00:1", port)}
    assert Endpoint.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "host", "host:", ":1", "host:0", "host:65536", "host:-1", "host:+1", "host:01", "host: 1", "a:1 "),
        *("unix:/var/run/docker.sock", "unix:1", "http://host:1", "dns:///host:1", "host:1/path", "user@host:1"),
        *("ipv4:1.2.3.4:5", "a b:1", "host\n:1", "host\0:1", "\uff11:1", "host:\u0661"),
        *("0.0.0.0:1", "[::]:1", "224.0.0.1:1", "255.255.255.255:1", "[ff02::1]:1", "[::ffff:0.0.0.0]:1"),
        *("127.1:1", "0x7f000001:1", "2130706433:1", "1.2.3.4.5:1", "1.2.3:1", "256.1.1.1:1", "0177.0.0.1:1"),
        *("::1:50551", "[::1]", "[::1%lo]:1", "[1.2.3.4]:1", "[nonsense]:1", "-bad:1", "a..b:1", "." * 3 + ":1"),
        "x" * 64 + ":1",
        ("long." * 40) + "example:1",
    ],
)  # fmt: skip
def test_what_is_no_address(text):
    if text == "unix:1":
        assert Endpoint.parse(text).host == "unix"  # a machine may have that name: it is looked up as one
        return
    with pytest.raises(PeerError) as caught:
        Endpoint.parse(text)
    assert caught.value.fault is Fault.MALFORMED


@given(st.text(max_size=60) | st.text("abc0:.[]@/-x%", max_size=30))
@example("1:1")
def test_any_text(text):
    with contextlib.suppress(PeerError):
        found = Endpoint.parse(text)
        assert Endpoint.parse(str(found)) == found
        assert set(str(found)) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_:[]")


def test_what_a_person_types():
    assert PeerAddress.parse(" node.example:1 ") == PeerAddress(Endpoint("node.example", 1))
    found = PeerAddress.parse(f"{DID}@[::1]:1")
    assert found == PeerAddress(Endpoint("::1", 1), DID)
    assert str(found) == f"{DID}@[::1]:1"


@pytest.mark.parametrize(
    "text", ["", "node", f"{DID}@", f"{DID}1@node:1", "did:web:x@node:1", f"{DID}:1", "me@node:1", "@@node:1"]
)
def test_what_a_person_mistypes(text):
    with pytest.raises(LocalError) as caught:
        PeerAddress.parse(text)
    assert "host:port" in caught.value.hint
