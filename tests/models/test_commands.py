"""The owner's commands over the store: names and digests that mean one thing, answers, exit codes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gpufair.protocol.errors import FairError, Fault, LocalError
from gpufair.provider.cli import models
from gpufair.provider.cli.endings import exit_code
from gpufair.provider.models.store import ModelStore

Write = Callable[..., Path]
Q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
PAIR = {f"unet.{Q}.lora_A.weight": (2, 4), f"unet.{Q}.lora_B.weight": (4, 2)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node's folder with nothing in it."""
    return tmp_path / "home"


def ask(home: Path, *words: str, code: int = 0) -> Any:
    """A command's answer."""
    done = CliRunner().invoke(models.app, [*words, "--home", str(home), "--json"])
    if isinstance(done.exception, FairError):
        assert exit_code(done.exception) == code, done.exception
        return done.exception
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def say(home: Path, *words: str) -> str:
    """What a command tells people."""
    done = CliRunner().invoke(models.app, [*words, "--home", str(home)])
    return done.output


def test_names_and_beginnings_of_digests_mean_one_thing_or_are_refused(home: Path, folder: Path, write: Write) -> None:
    model = ask(home, "add", str(folder), "--name", "fox")
    adapter = ask(home, "add", str(write("fox.safetensors", PAIR)))
    assert (model["kind"], adapter["kind"], adapter["name"], adapter["family"]) == ("model", "adapter", "fox", "LoRA")
    for which in (model["digest"], model["digest"][:6], model["digest"][:10].upper()):
        assert ask(home, "show", which)["digest"] == model["digest"]
    both = ask(home, "show", "fox", code=1)
    assert both.fault is Fault.CONFLICT
    assert model["digest"][:12] in both.what
    assert adapter["digest"][:12] in both.what
    for which in (model["digest"][:5], "owl", "", "fo", "0" * 64):
        assert ask(home, "remove", which, code=1).fault is Fault.UNKNOWN


def test_the_list_says_what_is_shared(home: Path, demo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(demo, other)
    (other / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "EulerDiscreteScheduler"}')
    first, second = ask(home, "add", str(demo)), ask(home, "add", str(other), "--licence", "mit")
    assert (first["scheduler"], second["scheduler"]) == ("DDIMScheduler", "EulerDiscreteScheduler")
    told = ask(home, "list")
    assert told["bytes"] == first["bytes"] + second["bytes"]
    shared = [row["shared_bytes"] for row in told["models"]]
    assert shared[0] == shared[1] > 0.9 * first["bytes"]
    assert told["disk_bytes"] == told["bytes"] - shared[0]
    assert f"{shared[0]:,} shared" in say(home, "list")
    assert f"{told['disk_bytes']:,} on disk" in say(home, "list")


def test_an_adapter_is_told_with_what_it_fits(home: Path, demo: Path, write: Write) -> None:
    assert "fits no model that is here" in say(home, "add", str(write("none.safetensors", PAIR)))
    model = ask(home, "add", str(demo), "--name", "demo")
    width = 128
    file = write("lora.safetensors", {f"unet.{Q}.lora_A.weight": (2, width), f"unet.{Q}.lora_B.weight": (width, 2)})
    assert "it fits demo" in say(home, "add", str(file))
    adapter = ask(home, "show", "lora")
    assert adapter["fits"] == [model["digest"]]
    assert ask(home, "show", "demo")["fits"] == [adapter["digest"]]
    assert ask(home, "show", "demo")["card"].startswith("---")


def test_verify_reads_one_or_all_and_says_what_is_damaged(home: Path, folder: Path, demo: Path) -> None:
    for wrong in (["verify"], ["verify", "demo", "--all"]):
        assert ask(home, *wrong, code=2).fault is Fault.MALFORMED
    ask(home, "add", str(demo), "--name", "demo")
    tiny = ask(home, "add", str(folder))
    assert ask(home, "verify", "--all")["sound"] is True
    config = ModelStore(home / "models").path(bytes.fromhex(tiny["digest"])) / "unet" / "config.json"
    config.chmod(0o644)
    config.write_text("{}")
    told = ask(home, "verify", "--all", code=7)
    assert {row["name"]: row["sound"] for row in told["models"]} == {"demo": True, "tiny": False}
    assert ask(home, "verify", "tiny", code=7)["sound"] is False
    assert "tiny: DAMAGED" in say(home, "verify", "--all")


def test_a_model_goes_out_and_is_removed(home: Path, folder: Path, tmp_path: Path) -> None:
    model = ask(home, "add", str(folder))
    for target in ("out", "out.tar"):
        assert ask(home, "export", "tiny", str(tmp_path / target))["exported"] == str(tmp_path / target)
        assert ask(home, "export", "tiny", str(tmp_path / target), code=1).fault is Fault.CONFLICT
    assert ask(home, "remove", model["digest"][:8])["removed"] is True
    assert ask(home, "list") == {"models": [], "bytes": 0, "disk_bytes": 0}
    assert ask(home, "add", str(tmp_path / "out"))["digest"] == model["digest"]


def test_orders_that_cannot_be_meant(home: Path, folder: Path, write: Write, tmp_path: Path) -> None:
    file = write("lora.safetensors", PAIR)
    assert "README" in ask(home, "add", str(file), "--card", str(tmp_path / "README"), code=1).what
    assert ask(home, "add", str(file), "--like", "nothing", code=1).fault is Fault.UNKNOWN
    assert ask(home, "add", str(file), "--like", str(folder), code=2).fault is Fault.MALFORMED
    assert ask(home, "add", str(tmp_path / "none"), code=7).fault is Fault.WRONG_TYPE
    assert isinstance(ask(home, "add", str(folder), "--like", str(folder), code=2), LocalError)
