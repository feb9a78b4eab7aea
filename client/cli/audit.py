"""`audit`. Rule: whether what was bought is what was done, with the exit code of a cheat where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufair.client.cli.stage import Answer, Exit, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.audit.auditor import Audited
    from gpufair.client.buyer import Buyer
    from gpufair.protocol.auditing import Table

_NOTHING = "give a job to audit, or with --check the file of an audit"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Pictures")(audit)


def audit(
    job: Annotated[
        str, typer.Argument(metavar="[JOB]", help="A job's id, or its first digits.", show_default=False)
    ] = "",
    picture: Annotated[int, typer.Option("--picture", min=0, help="Which of its pictures.")] = 0,
    models: Annotated[
        Path | None,
        typer.Option("--models", metavar="FOLDER", help="Where the model is: its folder, a node's home."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the whole proof, for anybody to check.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE", help="Judge such a file anew, offline.")
    ] = None,
    tolerances: Annotated[
        Path | None, typer.Option("--tolerances", metavar="FILE", help="Rows of your own for the table of tolerances.")
    ] = None,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Have one step of a paid picture proved, do it again here, and tell whether it was done. Exit code 7 if not."""

    def work(stage: Stage) -> Answer:
        from gpufair.protocol.edge import tolerances as rows
        from gpufair.protocol.errors import Fault, LocalError

        if bool(job) == (check is not None):
            raise LocalError(Fault.MALFORMED, _NOTHING)
        table = rows.load(tolerances)
        if check is not None:
            return _check(stage, check, table, models)
        return stage.with_buyer(lambda buyer: _audit(stage, buyer, job, picture, table, models, output))

    perform(home, as_json, work)


async def _audit(
    stage: Stage, buyer: Buyer, job: str, picture: int, table: Table, models: Path | None, output: Path | None
) -> Answer:
    from gpufair.client.audit.auditor import Auditor
    from gpufair.client.pictures import folder
    from gpufair.client.wallet import purchases

    if output is not None:
        folder.check_writable([output], force=False)
    auditor = Auditor(buyer.desk, buyer.store, buyer.peers, table)
    audited = await auditor.audit(purchases.find(buyer.store, job), picture, folder=models)
    if output is not None:
        output.write_bytes(audited.file)
    return _told(stage, audited, output)


def _check(stage: Stage, file: Path, table: Table, models: Path | None) -> Answer:
    import asyncio

    from gpufair.client.audit import auditor
    from gpufair.protocol.errors import Fault, LocalError

    try:
        data = file.read_bytes()
    except OSError as error:
        raise LocalError(Fault.MALFORMED, f"{file} cannot be read: {error.strerror}") from error
    return _told(stage, asyncio.run(auditor.check(data, table, folder=models)), file)


def _told(stage: Stage, audited: Audited, file: Path | None) -> Answer:
    from gpufair.client.cli.answers import answer, audit_object
    from gpufair.client.cli.views import audit_lines
    from gpufair.protocol.messages import Verdict

    codes = {Verdict.PASSED: Exit.OK, Verdict.FAILED: Exit.CHEATED}
    colours = {Verdict.PASSED: "green", Verdict.FAILED: "red bold"}
    first, *rest = audit_lines(audited)
    stage.say(first, style=colours.get(audited.verdict, "yellow"))
    for line in rest:
        stage.say(line)
    if audited.banned:
        proof = "; the wallet keeps the proof" if audited.verdict is Verdict.FAILED else ""
        stage.say(f"  nothing more is bought from it: gpufair bans list{proof}")
    if file is not None:
        stage.say(f"  proof     {file}: anybody can judge it with gpufair audit --check")
    told = audit_object(audited, str(file) if file is not None else None)
    return answer("audit", **told, _exit=codes.get(audited.verdict, Exit.DECLINED))
