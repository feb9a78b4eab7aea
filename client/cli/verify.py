"""`verify`. Rule: offline: the file, the signature in it, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Pictures")(verify)


def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILES", help="Pictures that gpufair delivered.")],
    provider: Annotated[str, typer.Option("--provider", help="The did that must have signed them.")] = "",
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Check pictures against the signed receipts in them, offline."""
    perform(home, as_json, lambda stage: _verify_all(stage, files, provider))


def _verify_all(stage: Stage, files: list[Path], provider: str) -> Answer:
    """Every file is looked at; the exit code is that of the first one that is not what it should be."""
    from gpufair.client.cli.answers import answer
    from gpufair.client.cli.stage import exit_code
    from gpufair.protocol.errors import FairError

    if len(files) == 1:
        return answer("verify", **_verify(stage, files[0], provider))
    found, codes = list[Answer](), list[int]()
    for file in files:
        try:
            found.append(_verify(stage, file, provider))
        except FairError as error:
            stage.say(f"✗ {file.name}: {error.what}", style="red")
            found.append({"file": str(file), "valid": False, "what": error.what})
            codes.append(exit_code(error))
    return answer("verify-many", files=found, _exit=codes[0] if codes else 0)


def _verify(stage: Stage, file: Path, provider: str) -> Answer:
    from gpufair.client.cli.answers import verified_object
    from gpufair.client.cli.views import verified_lines
    from gpufair.client.pictures.verify import verify as check
    from gpufair.protocol import limits
    from gpufair.protocol.errors import Fault, LocalError

    try:
        with file.open("rb") as stream:
            data = stream.read(limits.OUTPUT_MAX + 2 * limits.MIB)
    except OSError as error:
        raise LocalError(Fault.UNKNOWN, f"{file} cannot be read: {error.strerror}") from error
    verified = check(data, provider=provider)
    stage.say(f"✓ {file.name} is what its receipt says", style="green")
    for line in verified_lines(verified):
        stage.say(line)
    return verified_object(verified, str(file))
