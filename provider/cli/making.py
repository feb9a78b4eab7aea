"""What `init` makes. Rule: a configuration that would not be taken is not left lying about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from gpufair.protocol.edge import keys
from gpufair.protocol.edge.keys import Keys
from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider import config
from gpufair.provider.cli.common import passphrase
from gpufair.provider.cli.template import Choices, render
from gpufair.provider.hardware.probe import probe
from gpufair.provider.home import Home
from gpufair.provider.models.store import ModelStore
from gpufair.provider.sales.ask import DEFAULT_CPU, DEFAULT_GPU

DEFAULT_ROLES = ("provider", "directory")
OPTIONS = {"roles": "--role", "peers": "--peer", "accepted": "--ledger", "per_step_megapixel": "--price"}
"""The option of `init` by which a key of the configuration is given, where the two differ."""

_HINT = "correct it and run this again; `gpufaird init --help` explains the options"


@dataclass(frozen=True)
class Wishes:
    """What `init` was told."""

    roles: tuple[str, ...]
    listen: str
    announce: tuple[str, ...]
    ledgers: tuple[str, ...]
    peers: tuple[str, ...]
    runtime: str
    image: str
    price: int
    demo_model: bool


@dataclass(frozen=True)
class Made:
    """What there is now. `model` is the demo model's name, if it was put into the store."""

    did: str
    home: Home
    model: str
    own_ledger: bool


def make(home: Home, wishes: Wishes) -> Made:
    """Make keys, a configuration and a model store. Raises LocalError that names the option that is wrong."""
    if home.config.exists():
        raise LocalError(Fault.CONFLICT, f"{home.config} is there already", hint="edit it, or give another --home")
    roles = wishes.roles or DEFAULT_ROLES
    own_ledger = "provider" in roles and not wishes.ledgers
    if own_ledger:
        roles = (*roles, "ledger") if "ledger" not in roles else roles
        _check_findable(wishes)
    home.make()
    made = _keys(home)
    _write(home, made, replace(wishes, roles=roles), own_ledger=own_ledger)
    model = _demo_model(home) if wishes.demo_model and "provider" in roles else ""
    return Made(made.did, home, model, own_ledger)


def _check_findable(wishes: Wishes) -> None:
    """The node's own ledger stands in its configuration with its address, which must be known by now."""
    if wishes.listen.endswith(":0") and not wishes.announce:
        what = f"--listen {wishes.listen} leaves the port open, and this node's own ledger must have an address"
        raise LocalError(Fault.MALFORMED, what, hint="give a port, or --announce, or another node's --ledger")


def _keys(home: Home) -> Keys:
    if keys.exists(home.keys):
        return keys.load(home.keys, passphrase=passphrase())
    return keys.create(home.keys, passphrase=passphrase())


def _write(home: Home, made: Keys, wishes: Wishes, *, own_ledger: bool) -> None:
    gpus = tuple(device.uuid for device in probe(home.models).gpus.devices)
    ledgers = wishes.ledgers
    if own_ledger:
        port = wishes.listen.rpartition(":")[2]
        ledgers = (f"{made.did}@{(wishes.announce or (f'127.0.0.1:{port}',))[0]}",)
    choices = Choices(
        roles=wishes.roles, listen=wishes.listen, announce=wishes.announce, peers=wishes.peers, ledgers=ledgers,
        runtime=wishes.runtime, image=wishes.image, gpus=gpus, price=DEFAULT_GPU if gpus else DEFAULT_CPU,
        rate=wishes.price,
    )  # fmt: skip
    home.config.write_text(render(choices), encoding="utf-8")
    try:
        config.load(home.config)
    except LocalError as error:
        home.config.unlink()
        # It was given as an option: the line of a file that is gone again would mislead.
        key, _, what = error.what.removeprefix(str(home.config)).partition(": ")[2].partition(" ")
        raise LocalError(error.fault, f"{OPTIONS.get(key, f'--{key}')} {what}", hint=_HINT) from error


def _demo_model(home: Home) -> str:
    """Put the demo model into the store, and the LoRA that was made for it."""
    shipped, store = Path(str(files("gpufair.provider.models"))), ModelStore(home.models)
    pencil = shipped / "demo_lora"
    card = (pencil / "README.md").read_text(encoding="utf-8")
    store.add_adapter(pencil / "adapter.safetensors", name="pencil", card=card)
    return store.add(shipped / "demo", name="demo").name
