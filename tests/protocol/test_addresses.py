"""Rule: only `host:port` becomes an address; nothing that a peer writes reaches a socket file, a scheme or everyone."""

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpufair.protocol.addresses import Endpoint, PeerAddress, Reach, check_reach, network, reach
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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *(("127.0.0.1", Reach.LOOPBACK), ("127.255.0.3", Reach.LOOPBACK), ("::1", Reach.LOOPBACK)),
        *(("10.9.8.7", Reach.PRIVATE), ("172.31.0.1", Reach.PRIVATE), ("192.168.0.1", Reach.PRIVATE)),
        *(("100.100.0.1", Reach.PRIVATE), ("fd00::1", Reach.PRIVATE), ("::ffff:192.168.0.1", Reach.PRIVATE)),
        *(("169.254.169.254", Reach.NEVER), ("fe80::1", Reach.NEVER), ("fe80::1%eth0", Reach.NEVER)),
        *(("0.0.0.0", Reach.NEVER), ("::", Reach.NEVER), ("224.0.0.1", Reach.NEVER), ("240.0.0.1", Reach.NEVER)),
        *(("192.0.2.1", Reach.NEVER), ("2001:db8::1", Reach.NEVER), ("2002:a00:1::", Reach.NEVER)),
        *(("::ffff:127.0.0.1", Reach.LOOPBACK), ("64:ff9b::a00:1", Reach.PRIVATE), ("64:ff9b::808:808", Reach.GLOBAL)),
        *(("8.8.8.8", Reach.GLOBAL), ("172.32.0.1", Reach.GLOBAL), ("2600::1", Reach.GLOBAL)),
        ("::127.0.0.1", Reach.NEVER),
    ],
)  # fmt: skip
def test_reach(text, found):
    assert reach(text) is found


@pytest.mark.parametrize("heard", [Reach.LOOPBACK, Reach.PRIVATE, Reach.GLOBAL])
@pytest.mark.parametrize("text", ["127.0.0.1", "10.0.0.1", "8.8.8.8", "169.254.0.1"])
def test_no_learned_address_may_be_nearer_than_where_it_was_heard_of(text, heard):
    if reach(text) is not Reach.NEVER and reach(text) >= heard:
        check_reach(text, heard)
        return
    with pytest.raises(PeerError) as caught:
        check_reach(text, heard)
    assert caught.value.fault is Fault.NOT_ALLOWED


def test_networks_of_one_owner():
    assert network("8.8.8.8") == network("8.8.8.200") == "8.8.8.0/24"
    assert network("2600:1:2:3::1") == network("2600:1:2:4::9")
    assert network("10.0.0.1") != network("10.0.0.2")  # behind one router are many people's machines
