"""`models add|list|show|verify|remove|export`. Rule: a digest is what counts; a name that could mean two means none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider.cli.common import Exit, HomeOption, JsonOption, say, show
from gpufair.provider.home import Home
from gpufair.provider.models.about import ADAPTER, StoredModel
from gpufair.provider.models.store import ModelStore

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

DIGITS_MIN = 6
Which = Annotated[str, typer.Argument(help="A name, or the beginning of a digest (six digits or more).")]


@app.command()
def add(
    source: Annotated[Path, typer.Argument(help="A diffusers folder, a LoRA file, or a single-file checkpoint.")],
    name: Annotated[str, typer.Option(help="What to call it (default: the folder's or file's name).")] = "",
    licence: Annotated[str, typer.Option(help="Its licence (default: what its card says).")] = "",
    card: Annotated[Path | None, typer.Option(help="Its card, a text file (default: README.md of a folder).")] = None,
    like: Annotated[
        str, typer.Option(help="For a single-file checkpoint: a model of the same make, in the store or a folder.")
    ] = "",
    adapter: Annotated[bool, typer.Option("--adapter", help="It is a LoRA; say what is wrong if it isn't.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a model or a LoRA and take it into the store."""
    from gpufair.provider.models.intake import Told, take

    store = ModelStore(Home.find(home).models)
    model = take(store, source, Told(name, licence, _card(card), adapter), _like(store, like))
    if show(_row(model), as_json=as_json):
        return
    say(f"{model.digest.hex()[:16]}  {model.name}  {model.family}  {model.size:,} bytes")
    if model.kind == ADAPTER:
        fitting = [one.name for one in store.list() if store.fits(model.digest, one.digest)]
        say(f"it fits {', '.join(fitting)}" if fitting else "it fits no model that is here: nobody can buy it yet")
    say("a running node offers it within seconds")


@app.command("list")
def list_models(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """What is in the store, and what it takes."""
    store = ModelStore(Home.find(home).models)
    models, used = store.everything(), store.usage()
    rows = [{**_row(model), "shared_bytes": used.shared.get(model.digest, 0)} for model in models]
    if show({"models": rows, "bytes": used.content_bytes, "disk_bytes": used.disk_bytes}, as_json=as_json):
        return
    for model in models:
        shared = f" ({used.shared[model.digest]:,} shared)" if model.digest in used.shared else ""
        licence = model.licence or "licence unknown"
        say(f"{model.digest.hex()[:16]}  {model.name:20}  {model.family}  {model.size:,} bytes{shared}  {licence}")
    if models:
        say(f"{used.content_bytes:,} bytes in all, {used.disk_bytes:,} on disk")
    else:
        say("no models: `gpufaird models add FOLDER`")


@app.command("show")
def show_one(which: Which, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """A model's licence and card, and what it goes together with."""
    store = ModelStore(Home.find(home).models)
    model = find(store, which)
    if model.kind == ADAPTER:
        mates = [one for one in store.list() if store.fits(model.digest, one.digest)]
    else:
        mates = [one for one in store.adapters() if store.fits(one.digest, model.digest)]
    together = [one.digest.hex() for one in mates]
    if show({**_row(model), "card": model.card, "fits": together}, as_json=as_json):
        return
    say(f"digest     {model.digest.hex()}\nname       {model.name}\nfamily     {model.family}")
    say(f"scheduler  {model.scheduler or '-'}\nlicence    {model.licence or 'unknown'}\nbytes      {model.size:,}")
    say(f"fits       {', '.join(one.name for one in mates) or '-'}\n\n{model.card}".rstrip())


@app.command()
def verify(
    which: Annotated[str, typer.Argument(help="A name, or the beginning of a digest (six digits or more).")] = "",
    every: Annotated[bool, typer.Option("--all", help="All models and adapters.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a model's files again and compare them with its digest."""
    if bool(which) == every:
        raise LocalError(Fault.MALFORMED, "which model?", hint="give a name, a digest, or --all")
    store = ModelStore(Home.find(home).models)
    rows = []
    for model in store.everything() if every else [find(store, which)]:
        rows.append({**_row(model), "sound": store.verify(model.digest)})
        if not as_json:
            say(f"{model.name}: {'sound' if rows[-1]['sound'] else 'DAMAGED: add it again from where it came from'}")
    sound = all(row["sound"] for row in rows)
    show({"models": rows, "sound": sound} if every else rows[0], as_json=as_json)
    raise typer.Exit(Exit.OK if sound else Exit.UNSOUND)


@app.command()
def remove(
    which: Which,
    force: Annotated[bool, typer.Option("--force", help="Even if a buyer may still want it under a lease.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a model out of the store."""
    where = Home.find(home)
    store = ModelStore(where.models)
    model = find(store, which)
    if not force:
        from gpufair.provider.cli.selling import check_unsold

        check_unsold(where, model)
    store.remove(model.digest)
    if not show({**_row(model), "removed": True}, as_json=as_json):
        say(f"removed {model.name}")


@app.command()
def export(
    which: Which,
    target: Annotated[Path, typer.Argument(help="A new folder, or a new file that ends in .tar.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model out, with its card and licence: `models add` of that folder gives the same digest."""
    from gpufair.provider.models import exporting

    store = ModelStore(Home.find(home).models)
    model = find(store, which)
    exporting.export(store, model, target)
    if not show({**_row(model), "exported": str(target.absolute())}, as_json=as_json):
        say(f"{model.name} is in {target}")


def find(store: ModelStore, which: str) -> StoredModel:
    """The one model or adapter that a name or the beginning of a digest means. Raises LocalError otherwise."""
    digits = which.lower() if len(which) >= DIGITS_MIN else "-"
    found = [one for one in store.everything() if one.name == which or one.digest.hex().startswith(digits)]
    if not found:
        raise LocalError(Fault.UNKNOWN, f"no model called {which!r} here", hint="see `gpufaird models list`")
    if len(found) > 1:
        each = ", ".join(f"{one.digest.hex()[:12]} ({one.name}, {one.family})" for one in found[:8])
        what = f"{which!r} could mean {len(found)} of those here: {each}"
        raise LocalError(Fault.CONFLICT, what, hint="say which by the beginning of its digest")
    return found[0]


def _card(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            return file.read(limits.MODEL_CARD_MAX).decode(errors="replace")
    except OSError as error:
        raise LocalError(Fault.UNKNOWN, f"the card {path} can't be read: {error}") from error


def _like(store: ModelStore, like: str) -> Path | None:
    if not like or Path(like).is_dir():
        return Path(like) if like else None
    return store.path(find(store, like).digest)


def _row(model: StoredModel) -> dict[str, Any]:
    return {
        "digest": model.digest.hex(),
        "name": model.name,
        "kind": model.kind,
        "family": model.family,
        "scheduler": model.scheduler,
        "licence": model.licence,
        "bytes": model.size,
    }
