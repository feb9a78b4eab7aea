"""The owner's configuration: what `init` writes is right, and each wrong key is named with what would be right."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider import config
from gpufair.provider.cli.template import Choices, render
from gpufair.provider.config import Config
from gpufair.provider.sales.ask import DEFAULT_CPU

DID = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
LEDGER = f"{DID}@ledger.example:7700"


def written(**changes: Any) -> str:
    """What `init` writes."""
    choices = {
        "roles": ("provider", "directory"), "listen": "0.0.0.0:7700", "announce": ("[2001:db8::1]:7700",),
        "peers": ("node.example:7700",), "ledgers": (LEDGER,), "runtime": "auto", "image": "", "gpus": ("GPU-1",),
        "price": DEFAULT_CPU, "rate": 0,
    }  # fmt: skip
    return render(Choices(**{**choices, **changes}))


def load(path: Path, text: str | bytes) -> Config:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return config.load(path)


def refused(path: Path, text: str | bytes) -> LocalError:
    with pytest.raises(LocalError) as refusal:
        load(path, text)
    assert refusal.value.hint, "what to do next"
    return refusal.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_what_init_writes_is_right_and_says_everything(path: Path) -> None:
    made = load(path, written())
    assert made.ledger.accepted == (LEDGER,)
    assert made.price == DEFAULT_CPU
    assert (made.node.announce, made.workers.gpus) == (("[2001:db8::1]:7700",), ("GPU-1",))
    # Every key but the tests' own stands in the file, with its default.
    plain = load(path, written(announce=(), peers=(), gpus=()))
    assert plain.limits == config.LimitsConfig()
    assert plain.workers == config.WorkersConfig()
    text = written()
    sections = (plain.node, plain.workers, plain.price, plain.limits, plain.models, plain.ledger)
    for section in (*sections, plain.price.utilisation, plain.price.cost_plus):
        for name, value in vars(section).items():
            written_as = f"\n[price.{name}]\n" if is_dataclass(value) else f"\n{name} = "
            assert name == "null" or written_as in text, name


def test_any_text_survives_the_template(path: Path) -> None:
    assert load(path, written(gpus=('"\\ # ] é', "b"))).workers.gpus == ('"\\ # ] é', "b")


WRONG = [
    ("listen = ", 'listen = "0.0.0.0"'), ("listen = ", 'listen = "example.org:7700"'),
    ("listen = ", 'listen = "0.0.0.0:99999"'), ("listen = ", 'listen = "::1:7700"'), ("listen = ", 'listen = ""'),
    ("listen = ", "listen = 7700"), ("announce = ", 'announce = ["0.0.0.0:1"]'), ("announce = ", 'announce = "a:1"'),
    ("announce = ", f"announce = {['a.example:1'] * 9}"), ("roles = ", 'roles = ["king"]'), ("roles = ", "roles = []"),
    ("roles = ", 'roles = ["unspecified"]'), ("peers = ", 'peers = ["nowhere"]'), ("peers = ", "peers = [1]"),
    ("runtime = ", 'runtime = "podman"'), ("runtime = ", 'runtime = "process"\ngvisor = true'),
    ("concurrent_jobs = ", "concurrent_jobs = 0"), ("concurrent_jobs = ", "concurrent_jobs = 65"),
    ("concurrent_jobs = ", "concurrent_jobs = -1"), ("concurrent_jobs = ", "concurrent_jobs = true"),
    ("concurrent_jobs = ", "concurrent_jobs = 1.5"), ("concurrent_jobs = ", 'concurrent_jobs = "1"'),
    ("memory_mib = ", "memory_mib = 10"), ("memory_mib = ", f"memory_mib = {10**30}"), ("cpus = ", "cpus = nan"),
    ("cpus = ", "cpus = inf"), ("cpus = ", "cpus = -0.5"), ("cpus = ", 'cpus = "many"'),
    ("per_step_megapixel = ", "per_step_megapixel = 0"), ("per_step_megapixel = ", "per_step_megapixel = -5"),
    ("per_step_megapixel = ", "per_step_megapixel = 0.5"),
    ("per_step_megapixel = ", "per_step_megapixel = 1000000000001"), ("minimum = ", "minimum = 1000000000000001"),
    ("pixels = ", "pixels = 1"), ("steps = ", "steps = 501"), ("count = ", "count = 65"), ("queue = ", "queue = 0"),
    ("traces_mib = ", "traces_mib = -1"),
    ("window = ", "window = 0"), ("lease_minutes = ", "lease_minutes = 1441"), ("allow = ", "allow = [1]"),
    ("allow = ", "allow = ['']"), ("refuse = ", "refuse = ['licence: ']"), ("refuse = ", "refuse = ['license:mit']"),
    ("accepted = ", "accepted = []"), ("accepted = ", 'accepted = ["ledger.example:7700"]'),
    ("accepted = ", 'accepted = ["did:key:zzz@ledger.example:7700"]'), ("accepted = ", f"accepted = {[LEDGER] * 17}"),
    ("auditors = ", 'auditors = ["somebody"]'), ("image = ", 'image = "a\\u001b[31mb"'),
    ("image = ", f'image = "{"x" * 600}"'), ("image = ", 'image = "banana"'), ("image = ", 'image = "sha256:abc"'),
    ("image = ", 'image = "worker:latest"'), ("image = ", f'image = "sha256:{"0" * 64}x"'),
    ("dtype = ", 'dtype = "int8"'), ("dtype = ", "dtype = 16"), ("compile = ", 'compile = "yes"'),
    ("floor_milli = ", "floor_milli = 0"), ("floor_milli = ", "floor_milli = 1001"),
    ("notice_seconds = ", "notice_seconds = 61"), ("notice_discount_milli = ", "notice_discount_milli = 1001"),
    ("notice_discount_milli = ", "notice_discount_milli = 100"), ("policy = ", 'policy = "auction"'),
    ("per_reserved_second = ", "per_reserved_second = 5"), ("reserved_workers = ", "reserved_workers = 1"),
    ("reserved_workers = ", "reserved_workers = 2"), ("idle_milli = ", "idle_milli = 0"),
    ("idle_milli = ", "idle_milli = 2001"), ("busy_milli = ", "busy_milli = 100001"), ("minutes = ", "minutes = 0"),
    ("band_milli = ", "band_milli = 9"), ("tariff = ", "tariff = 0"), ("tariff = ", "tariff = 0.3"),
    ("margin_milli = ", "margin_milli = 100001"), ("watts = ", "watts = -1"), ("region = ", "region = 5"),
    ("region = ", f'region = "{"x" * 200}"'), ("[price.cost_plus]", "[price.cost-plus]"),
    ("[models]", "[models]\nallowed = []"),
    ("[workers]", "[workers]\nworker = 1"), ("[node]", "[node]\nport = 1"),
    ("[limits]", "[limit]"), ("[price]", "[price.fixed]"),
]  # fmt: skip


@pytest.mark.parametrize(("begin", "line"), WRONG)
def test_each_wrong_key_is_named(path: Path, begin: str, line: str) -> None:
    lines = written().splitlines()
    assert sum(old.startswith(begin) for old in lines) == 1
    where = next(i for i, old in enumerate(lines) if old.startswith(begin))
    lines[where] = line
    if begin == "runtime = ":
        lines = [
            old
            for old in lines
            if old != "gvisor = false   # run workers under gVisor (runsc must be known to the engine)"
        ]
    error = refused(path, "\n".join(lines))
    assert error.fault is Fault.MALFORMED
    key = line.splitlines()[-1].split(" = ")[0].strip("[]").split(".")[-1]
    assert key in error.what, error.what
    assert "null" not in error.what, "a key of the tests' own is no owner's business"
    assert error.what.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        b"\xff\xfe", b"listen = ", b"[node]\nlisten = 1\nlisten = 2", b"a = " + b"[" * 5000, b"x = " + b"9" * 5000,
        b"\x00", b'node = "a text"', b"node = 1", b"[[node]]\n",
    ],
)  # fmt: skip
def test_no_toml_or_not_ours(path: Path, text: bytes) -> None:
    assert refused(path, text).fault is Fault.MALFORMED


def test_too_large_absent_and_a_folder(path: Path, tmp_path: Path) -> None:
    assert refused(path, b"#" * 300_000).fault is Fault.TOO_LARGE
    with pytest.raises(LocalError, match="there is no"):
        config.load(tmp_path / "absent.toml")
    with pytest.raises(LocalError, match="can't be read"):
        config.load(tmp_path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(st.sampled_from([line.split(" = ")[0] for line in written().splitlines() if " = " in line]), values)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_is_taken_or_refused_in_words(tmp_path: Path, key: str, value: Any) -> None:
    import json

    text = json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf").replace("null", '"null"')
    lines = [f"{key} = {text}" if line.startswith(f"{key} = ") else line for line in written().splitlines()]
    what = ""
    try:
        assert isinstance(load(tmp_path / "config.toml", "\n".join(lines)), Config)
    except LocalError as error:
        what = error.what
    assert what.isprintable()
