"""`models add|list|verify|remove`. Rule: a model is named by its digest; what a name means is the store's to say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider.cli.common import Exit, HomeOption, JsonOption, say, show
from gpufair.provider.home import Home
from gpufair.provider.models.about import StoredModel
from gpufair.provider.models.store import ModelStore

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Which = Annotated[str, typer.Argument(help="A name, or the beginning of a digest.")]


@app.command()
def add(
    folder: Annotated[Path, typer.Argument(help="A diffusers folder with safetensors weights.")],
    name: Annotated[str, typer.Option(help="What to call it (default: the folder's name).")] = "",
    licence: Annotated[str, typer.Option(help="Its licence (default: what its card says).")] = "",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a model and take it into the store."""
    model = ModelStore(Home.find(home).models).add(folder, name=name, licence=licence)
    if not show(_row(model), as_json=as_json):
        say(f"{model.digest.hex()[:16]}  {model.name}  {model.family}  {model.size:,} bytes")
        say("a running node offers it within seconds")


@app.command("list")
def list_models(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What is in the store."""
    models = ModelStore(Home.find(home).models).list()
    if show({"models": [_row(model) for model in models]}, as_json=as_json):
        return
    for model in models:
        licence = model.licence or "licence unknown"
        line = f"{model.digest.hex()[:16]}  {model.name:20}  {model.family}  {model.size:,} bytes  {licence}"
        say(line)
    if not models:
        say("no models: `gpufaird models add FOLDER`")


@app.command()
def verify(which: Which, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Read a model's files again and compare them with its digest."""
    store = ModelStore(Home.find(home).models)
    model = find(store, which)
    sound = store.verify(model.digest)
    if not show({**_row(model), "sound": sound}, as_json=as_json):
        say(f"{model.name}: {'sound' if sound else 'DAMAGED: remove it and add it again'}")
    raise typer.Exit(Exit.OK if sound else Exit.UNSOUND)


@app.command()
def remove(which: Which, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take a model out of the store."""
    store = ModelStore(Home.find(home).models)
    model = find(store, which)
    store.remove(model.digest)
    if not show({**_row(model), "removed": True}, as_json=as_json):
        say(f"removed {model.name}")


def find(store: ModelStore, which: str) -> StoredModel:
    """The one model that a name or the beginning of a digest means. Raises LocalError otherwise."""
    found = [m for m in store.list() if m.name == which or (len(which) >= 6 and m.digest.hex().startswith(which))]
    if len(found) != 1:
        what = "no model" if not found else f"{len(found)} models"
        raise LocalError(Fault.UNKNOWN, f"{what} called {which!r} here", hint="see `gpufaird models list`")
    return found[0]


def _row(model: StoredModel) -> dict[str, Any]:
    return {
        "digest": model.digest.hex(),
        "name": model.name,
        "family": model.family,
        "licence": model.licence,
        "bytes": model.size,
    }
