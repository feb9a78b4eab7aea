"""Rule: the vectors are what the code makes, to the byte; and they hold on their own, read without the generator."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gpufair.protocol import envelope, journal, messages, trace, wire
from gpufair.protocol.messages import Envelope

HERE = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("vectors_generate", HERE / "generate.py")
generate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(generate)


def read(name):
    return json.loads((HERE / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", generate.FILES)
def test_they_regenerate_without_a_diff(name):
    assert (HERE / name).read_text(encoding="utf-8") == generate.render(name), "run: python tests/vectors/generate.py"


def test_no_file_is_left_over():
    assert {path.name for path in HERE.glob("*.json")} == set(generate.FILES)


def test_another_process_makes_the_same_bytes():
    """Hash seeds, dictionary order and the like must not show."""
    program = (
        f"import runpy; m = runpy.run_path({str(HERE / 'generate.py')!r}); print(m['render']('documents.json'), end='')"
    )
    for seed in ("1", "2"):
        out = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        assert out.stdout.decode() == (HERE / "documents.json").read_text(encoding="utf-8")


def test_identities_by_the_library_alone():
    for vector in read("identity.json"):
        key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["seed"]))
        assert key.public_key().public_bytes_raw().hex() == vector["public_key"]
        key.public_key().verify(bytes.fromhex(vector["signature_of_abc"]), b"abc")


def test_every_kind_of_document_is_there_and_verifies():
    """Verified by hand: the encoding is spelled out here, not taken from the code."""
    vectors = read("documents.json")
    kinds = {kind for kind in vars(messages).values() if isinstance(kind, type) and issubclass(kind, messages.Document)}
    assert {vector["type"] for vector in vectors} == {kind.TYPE for kind in kinds} - {""}
    alice = Ed25519PublicKey.from_public_bytes(generate.ALICE.key.public_key().public_bytes_raw())
    for vector in vectors:
        sent = wire.decode(Envelope, bytes.fromhex(vector["envelope"]))
        kind, payload = vector["type"].encode(), bytes.fromhex(vector["payload"])
        encoding = (
            b"DSSEv1 " + str(len(kind)).encode() + b" " + kind + b" " + str(len(payload)).encode() + b" " + payload
        )
        alice.verify(sent.signatures[0].sig, encoding)
        assert hashlib.sha256(encoding).hexdigest() == vector["id"]
        assert sent.payload == payload
        signed = envelope.authenticate(envelope.read(sent, getattr(messages, vector["kind"])))
        assert wire.encode(signed.doc) == payload


def test_the_journal_is_an_honest_one():
    *events, end = read("journal.json")
    head = wire.decode(Envelope, bytes.fromhex(end["head"]["envelope"]))
    audit = journal.verify([bytes.fromhex(event["event"]) for event in events], head, generate.BANK.did)
    assert audit.ok, audit.findings
    assert audit.hash.hex() == events[-1]["hash"]
    assert sum(available + held + issued for issued, available, held in end["issued_available_held"].values()) == 0


def test_the_proofs_prove():
    for vector in read("trace.json"):
        leaves = [bytes.fromhex(leaf) for leaf in vector["leaves"]]
        path = [bytes.fromhex(digest) for digest in vector["proof_of_the_last"]]
        assert trace.verify(bytes.fromhex(vector["root"]), len(leaves), len(leaves) - 1, leaves[-1], path)
        assert leaves[0] == hashlib.sha256(b"\0" + bytes(4) + bytes.fromhex(vector["latents"][0])).digest()


def test_what_the_captures_are_worth():
    _, none, one, both = read("payment.json")
    assert [part["worth"] for part in (none, one, both)] == [1_000, 1_300, 1_800]
    assert [part["paid_of_a_hold_of_1500_that_paid_200"] for part in (none, one, both)] == [800, 1_100, 1_300]
