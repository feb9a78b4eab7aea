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
    file: Annotated[Path, typer.Argument(help="A picture that gpufair delivered.")],
    provider: Annotated[str, typer.Option("--provider", help="The did that must have signed it.")] = "",
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Check a picture against the signed receipt in it, offline."""
    perform(home, as_json, lambda stage: _verify(stage, file, provider))


def _verify(stage: Stage, file: Path, provider: str) -> Answer:
    from gpufair.client.cli.answers import answer, verified_object
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
    return answer("verify", **verified_object(verified, str(file)))
