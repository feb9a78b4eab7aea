"""What is wrong with a command line is said before anything is opened or asked: exit code 2, or 1 where all is well
but the folder. Run in this process: nothing here needs a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from gpufair.client import failures
from gpufair.client.cli.app import app
from gpufair.client.cli.filters import memory_bytes
from gpufair.client.cli.stage import Exit, exit_code
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.errors import Fault, LocalError, PeerError


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("GPUFAIR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for name, size in (("small", (16, 16)), ("other", (8, 8)), ("wide", (9000, 1))):
        Image.new("RGB", size, "white").save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "small.png").read_bytes()[:50])
    return lambda *args: CliRunner().invoke(app, list(args))


@pytest.mark.parametrize(
    "options",
    [
        ("--size", "100x100"),
        ("--size", "64"),
        ("--size", "64x64x64"),
        ("--size", "-8x64"),
        ("--steps", "0"),
        ("--steps", "many"),
        ("--guidance", "nan"),
        ("--guidance", "1e3"),
        ("--guidance", "51"),
        ("--max-price", "-1"),
        ("--max-price", "1e3"),
        ("--max-price", "0.0000001"),
        ("--seed", "-1"),
        ("--seed", "9223372036854775808"),
        ("--count", "0"),
        ("--scheduler", "nope"),
        ("--scheduler", "unspecified"),
        ("--guidance", "inf"),
        ("--guidance", "-inf"),
        ("--guidance", "-1"),
        ("--steps", "1000000000"),
        ("--precision", "double"),
        ("--strength", "0.5"),
        ("--mask", "mask.png"),
        ("--outpaint", "8,8,8,8"),
        ("--lora", "pixel:9"),
        ("--lora", ":1"),
        ("--lora", "x") * 9,
        ("-o", "no/such/folder.png"),
        ("-o", "."),
        ("--no-such-option",),
    ],
)
def test_a_bad_option_is_a_usage_error(call: Any, tmp_path: Path, options: tuple[str, ...]) -> None:
    done = call("run", "a fox", "--yes", *options)
    assert done.exit_code == Exit.USAGE, done.output
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--size", "big"), "--size: 'big' is not a size"),
        (("--size", "100x64"), "width is 100: it must be a multiple of 8"),
        (("--steps", "501"), "steps is 501: it must be 1 to 500"),
        (("--guidance", "51"), "--guidance: 51 is too much: it must be 0 to 50"),
        (("--guidance", "x"), "--guidance: 'x' is not a number"),
        (("--seed", "-1"), "seed is -1: it must be 0 to 9223372036854775807"),
        (("--count", "0"), "count is 0: it must be 1 to 64"),
        (("--scheduler", "nope"), "there is no scheduler 'nope'"),
        (("--guidance", "nan"), "--guidance: 'nan' is not a number"),
        (("--guidance", "-1"), "--guidance: -1 is too little: it must be 0 to 50"),
        (("--steps", "0"), "steps is 0: it must be 1 to 500"),
        (("--steps", "1000000000"), "steps is 1000000000: it must be 1 to 500"),
        (("--precision", "double"), "there is no precision 'double'"),
        (("--strength", "0.5"), "strength says how much of an image is made anew, and there is no image"),
        (("--image", "small.png", "--strength", "0"), "strength in thousandths is 0: it must be 1 to 1000"),
        (("--image", "small.png", "--strength", "1.001"), "--strength: 1.001 is too much: it must be 0 to 1"),
        (("--image", "small.png", "--strength", "nan"), "--strength: 'nan' is not a number"),
        (("--image", "gone.png"), "the image gone.png cannot be read: No such file or directory"),
        (("--image", "broken.png"), "the image can't be read:"),
        (("--image", "wide.png"), "the image has 9000x1 pixels, at most 8192 a side"),
        (("--image", "small.png", "--mask", "wide.png"), "the mask has 9000x1 pixels, at most 8192 a side"),
        (("--image", "small.png", "--mask", "other.png"), "the mask has 8x8 pixels, the image 16x16"),
        (("--image", "small.png", "--mask", "small.png", "--outpaint", "1,1,1,1"), "an outpainting adds to it"),
        (("--image", "small.png", "--outpaint", "1,2,3"), "--outpaint: '1,2,3' is not four numbers of pixels"),
        (("--image", "small.png", "--outpaint", "0,0,0,0"), "each 0 to 4096, and not all 0"),
        (("--outpaint", "8,8,8,8"), "an outpainting is for an image, and there is none"),
        (("--lora", "pixel:9"), "--lora: 9 is too much: it must be -8 to 8"),
        (("--lora", "pixel:big"), "--lora: 'big' is not a number"),
        (("--negative", "x" * 8193), "the negative prompt has 8193 bytes, at most 8192"),
        (("--lora", "x") * 9, "number of LoRAs is 9: it must be 0 to 8"),
        (("--max-price", "x"), "--max-price: 'x' is not an amount in credits"),
        (("--memory", "2x"), "--memory: '2x' is not a number of GiB"),
        (("--isolation", "glass"), "there is no isolation 'glass'"),
        (("--strategy", "best"), "there is no strategy 'best'"),
        (("--class", "first"), "there is no bidclass 'first'"),
        (("--bid", "cheap"), "--bid: 'cheap' is neither"),
        (("--bid", "2000%"), "bid_milli is 20000: it must be 0 to 10000"),
        (("--notice", "61"), "notice_ms is 61000: it must be 0 to 60000"),
    ],
)
@pytest.mark.parametrize("command", [("run", "a fox", "--yes"), ("quote",), ("quote", "a fox")])
def test_what_is_wrong_is_one_line_that_names_it(
    call: Any, command: tuple[str, ...], options: tuple[str, ...], words: str
) -> None:
    done = call(*command, *options)
    assert done.exit_code == Exit.USAGE
    assert words in done.stderr.splitlines()[0]
    error = json.loads(call(*command, *options, "--json").stderr)["error"]
    assert (error["code"], error["kind"]) == (2, "usage")
    assert words in error["what"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "sing"), "there is no task 'sing'"),
        (("--class", "first"), "there is no bidclass 'first'"),
        (("--max-price", "-1"), "--max-price: '-1' is not an amount in credits"),
        (("--profile", "12"), "profile is '12': that can't be one"),
        (("--ledger", "bank"), "ledger is 'bank': that can't be one"),
        (("--memory", "1."), "--memory: '1.' is not a number of GiB"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_named(call: Any, options: tuple[str, ...], words: str) -> None:
    done = call("offers", *options)
    assert done.exit_code == Exit.USAGE
    assert words in done.stderr.splitlines()[0]


def test_memory_is_read_in_gib_without_a_float() -> None:
    assert [memory_bytes(text) for text in ("24", "0.5", "1.25")] == [24 * 2**30, 2**29, 5 * 2**28]


def test_quote_takes_what_describes_the_picture_in_run() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    run, quote = ({name for option in commands[name].params for name in option.opts} for name in ("run", "quote"))
    assert quote < run
    assert run - quote == {
        "--output",
        "-o",
        "--yes",
        "-y",
        "--preview",
        "--force",
        "--trust-provider-ledger",
        "--checkpoint-every",
        "--budget",
        "--hedge",
    }


def test_a_folder_that_cannot_be_is_said(call: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = call("init", "--home", str(tmp_path / "file" / "home"))
    assert done.exit_code == Exit.LOCAL
    assert "cannot be made: Not a directory" in done.stderr


def test_without_a_terminal_yes_must_be_said(call: Any) -> None:
    done = call("run", "a fox", "--json")
    assert done.exit_code == Exit.USAGE
    assert json.loads(done.stderr)["error"]["hint"].startswith("add --yes")


def test_a_file_is_not_overwritten_unless_told(call: Any, tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"mine")
    done = call("run", "a fox", "--yes", "-o", "fox.png")
    assert done.exit_code == Exit.USAGE
    assert "--force" in done.stderr
    assert call("run", "a fox", "--yes", "-o", "fox.png", "--force").exit_code == Exit.LOCAL, "there is no identity"
    assert (tmp_path / "fox.png").read_bytes() == b"mine"


def test_each_first_step_names_the_next(call: Any) -> None:
    assert "gpufair init" in call("balance").stderr
    first = call("init")
    assert "gpufair peers add" in first.stdout
    assert "gpufair peers add" in call("offers").stderr
    assert "gpufair run" in call("history").stdout
    again = call("init")
    assert again.exit_code == Exit.LOCAL
    assert "already" in again.stderr


def test_json_is_one_object_with_its_schema(call: Any) -> None:
    for args, schema in ((("init",), "gpufair/init/1"), (("id",), "gpufair/id/1"), (("history",), "gpufair/history/1"),
                         (("peers", "list"), "gpufair/peers/1")):  # fmt: skip
        done = call(*args, "--json")
        assert done.exit_code == 0
        assert json.loads(done.stdout)["schema"] == schema
        assert done.stdout.count("\n") == 1


def test_control_characters_do_not_reach_the_terminal(call: Any) -> None:
    call("init")
    for args in (("show", "\x1b[31mabcd"), ("peers", "add", "\x1b]0;owned\x07:1"), ("verify", "\x1b[2J.png")):
        done = call(*args)
        assert done.exit_code in (1, 2)
        assert "\x1b" not in done.output
        assert "\x07" not in done.output


def test_the_passphrase_is_asked_for_and_kept(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUFAIR_PASSPHRASE", "open sesame")
    assert json.loads(call("init", "--passphrase", "--json").stdout)["protected"] is True
    assert call("id").exit_code == 0
    monkeypatch.setenv("GPUFAIR_PASSPHRASE", "wrong")
    assert call("id").exit_code == Exit.LOCAL
    monkeypatch.delenv("GPUFAIR_PASSPHRASE")
    assert "GPUFAIR_PASSPHRASE" in call("id").stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (failures.NoOfferError("x"), 3),
        (failures.DeclinedError("x"), 4),
        (failures.FundsError("x", wanted=1, limit=0), 5),
        (failures.UnreachableError("x"), 6),
        (PeerUnreachable("x"), 6),
        (failures.CheatedError("x"), 7),
        (failures.VerificationError("x"), 7),
        (PeerError(Fault.BAD_SIGNATURE, "x"), 7),
        (RemoteRefusal(Fault.UNKNOWN, "x"), 4),
        (failures.JobFailedError("x"), 8),
        (LocalError(Fault.MALFORMED, "x"), 2),
        (LocalError(Fault.INTERNAL, "x"), 1),
        (RuntimeError("x"), 1),
    ],
)
def test_exit_codes_never_change(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_show_has_nothing_to_show_in_an_empty_wallet(call: Any) -> None:
    call("init", "--json")
    done = call("show", "--json")
    assert done.exit_code == Exit.LOCAL
    assert "no job yet" in done.output
