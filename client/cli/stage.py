"""What every command stands on. Rule: one object on stdout with `--json`, words for people without, one exit code.

A command's work gets a `Stage`, shows people what it does as it goes, and returns its JSON object. With `--json`
nothing else reaches stdout; errors are an object on stderr.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from gpufair.client.buyer import Buyer
    from gpufair.client.config import Home

R = TypeVar("R")
Answer = dict[str, Any]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/cli.md) and nothing else.")]
HomeDir = Annotated[
    Path | None,
    typer.Option(
        "--home", "--config", metavar="FOLDER", envvar="GPUFAIR_HOME", show_envvar=True,
        help="Your folder: identity, wallet, config.toml.",
    ),
]  # fmt: skip


class Exit(IntEnum):
    """How a command ends. Documented in docs/cli.md; the numbers never change."""

    OK = 0
    LOCAL = 1
    USAGE = 2
    NO_OFFER = 3
    DECLINED = 4
    FUNDS = 5
    UNREACHABLE = 6
    CHEATED = 7
    JOB_FAILED = 8
    INTERRUPTED = 130


class Stage:
    """Where a command plays: its folder, its two consoles, its passphrase."""

    def __init__(self, folder: Path | None, *, as_json: bool) -> None:
        from rich.console import Console

        from gpufair.client.config import Home, default_home

        plain: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False, "soft_wrap": True}
        self.home: Home = Home(folder if folder is not None else default_home())
        self.as_json = as_json
        self.out: Console = Console(quiet=as_json, **plain)
        self.err: Console = Console(stderr=True, quiet=as_json, **plain)
        self.job = b""
        """The job under way, for the words that follow an interruption."""

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """A line for people; peers' words in it can't do anything to the terminal."""
        from gpufair.protocol.errors import printable

        self.out.print(printable(text, limit=20_000), style=style)

    def passphrase(self) -> str | None:
        """The identity's passphrase if it has one: from GPUFAIR_PASSPHRASE, else asked for. Raises LocalError."""
        from gpufair.client.keyring import is_protected

        if not is_protected(self.home):
            return None
        return self.secret("GPUFAIR_PASSPHRASE", "Passphrase of your identity")

    def secret(self, variable: str, question: str, *, confirm: bool = False) -> str:
        """A secret from the environment, else from the terminal without echo; never from an argument."""
        from gpufair.protocol.errors import Fault, LocalError

        if variable in os.environ:
            return os.environ[variable]
        if not sys.stdin.isatty():
            raise LocalError(Fault.MALFORMED, f"{question}: there is no terminal to ask on", hint=f"set {variable}")
        return str(typer.prompt(question, hide_input=True, confirmation_prompt=confirm, err=True))

    def with_buyer(self, work: Callable[[Buyer], Awaitable[R]]) -> R:
        """Open the wallet and the connections, do the work, close them."""
        import asyncio

        from gpufair.client.opening import open_buyer
        from gpufair.protocol.edge import loading

        loading.done()
        passphrase = self.passphrase()

        async def body() -> R:
            async with open_buyer(self.home, passphrase) as buyer:
                return await work(buyer)

        return asyncio.run(body())


def perform(folder: Path | None, as_json: bool, work: Callable[[Stage], Answer]) -> None:
    """Do a command's work; print its answer or its failure, and end the process with the right code."""
    from gpufair.protocol.errors import FairError

    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    stage = Stage(folder, as_json=as_json)
    try:
        answer = work(stage)
    except FairError as error:
        _fail(stage, error)
    except (KeyboardInterrupt, typer.Abort):
        _interrupted(stage)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(Exit.LOCAL) from None
    except Exception as error:
        if os.environ.get("GPUFAIR_DEBUG"):
            raise
        _bug(stage, error)
    finally:
        signal.signal(signal.SIGTERM, before)
    if as_json:
        code = answer.pop("_exit", Exit.OK)
        typer.echo(json.dumps(answer))
    else:
        code = answer.get("_exit", Exit.OK)
    if code:
        raise typer.Exit(int(code))


def exit_code(error: Exception) -> Exit:
    """The exit code of a failure."""
    from gpufair.client import failures
    from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
    from gpufair.protocol.errors import Fault, LocalError, PeerError

    if isinstance(error, LocalError) and error.fault in (Fault.MALFORMED, Fault.TOO_LARGE):
        return Exit.USAGE
    endings: tuple[tuple[type[Exception], Exit], ...] = (
        (failures.NoOfferError, Exit.NO_OFFER),
        (failures.DeclinedError, Exit.DECLINED),
        (failures.FundsError, Exit.FUNDS),
        (failures.UnreachableError, Exit.UNREACHABLE),
        (PeerUnreachable, Exit.UNREACHABLE),
        (RemoteRefusal, Exit.DECLINED),
        (failures.JobFailedError, Exit.JOB_FAILED),
        (failures.LeaseOverError, Exit.JOB_FAILED),
        (failures.StoppedError, Exit.INTERRUPTED),
        (failures.CheatedError, Exit.CHEATED),
        (failures.VerificationError, Exit.CHEATED),
        (PeerError, Exit.CHEATED),
    )
    return next((code for kind, code in endings if isinstance(error, kind)), Exit.LOCAL)


def _fail(stage: Stage, error: Any) -> NoReturn:
    from gpufair.client.cli.answers import reason_object

    code = exit_code(error)
    reasons, job = getattr(error, "reasons", ()), getattr(error, "job", b"")
    if stage.as_json:
        body = {
            "code": int(code), "kind": code.name.lower(), "fault": error.fault.name.lower(), "what": error.what,
            "hint": error.hint, "job": job.hex() or None, "reasons": [reason_object(reason) for reason in reasons],
        }  # fmt: skip
        typer.echo(json.dumps({"schema": "gpufair/error/1", "error": body}), err=True)
    else:
        from rich.text import Text

        stage.err.print(Text.assemble(("✗ ", "red bold"), error.what))
        for did, why in getattr(error, "dropped", ())[:8]:
            from gpufair.protocol.identity import short

            stage.err.print(Text(f"  {short(did)}  {'; '.join(map(str, why))}", style="dim"))
        if error.hint:
            stage.err.print(Text(f"  {error.hint}", style="dim"))
    raise typer.Exit(int(code))


def _interrupted(stage: Stage) -> NoReturn:
    from gpufair.client.endings import short

    hint = ""
    if stage.job:
        job = short(stage.job)
        hint = f"The provider waits a little for you: gpufair fetch {job} goes on, gpufair cancel {job} ends it."
    if stage.as_json:
        body = {"code": int(Exit.INTERRUPTED), "kind": "interrupted", "fault": "cancelled", "what": "interrupted",
                "hint": hint, "job": stage.job.hex() or None, "reasons": []}  # fmt: skip
        typer.echo(json.dumps({"schema": "gpufair/error/1", "error": body}), err=True)
    else:
        stage.err.print(f"\nStopped. {hint}".rstrip())
    raise typer.Exit(int(Exit.INTERRUPTED))


def _bug(stage: Stage, error: Exception) -> NoReturn:
    from gpufair.protocol.errors import printable

    what = printable(f"this is a bug in gpufair: {type(error).__name__}: {error}")
    hint = "your wallet is safe; run it again with GPUFAIR_DEBUG=1 and report what it prints"
    if stage.as_json:
        body = {"code": int(Exit.LOCAL), "kind": "local", "fault": "internal", "what": what, "hint": hint,
                "job": stage.job.hex() or None, "reasons": []}  # fmt: skip
        typer.echo(json.dumps({"schema": "gpufair/error/1", "error": body}), err=True)
    else:
        stage.err.print(f"✗ {what}\n  {hint}")
    raise typer.Exit(int(Exit.LOCAL))
