"""Whether something is being sold. Rule: the node that sells is asked; one that doesn't answer sells nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpufair.protocol.errors import Fault
from gpufair.provider.cli.common import ask_node
from gpufair.provider.control import NodeRefusedError, NoNodeError

if TYPE_CHECKING:
    from gpufair.provider.home import Home
    from gpufair.provider.models.about import StoredModel


def check_unsold(home: Home, model: StoredModel) -> None:
    """Raises `NodeRefusedError` while a node runs here that has leases open and sells this model or adapter."""
    if not home.config.exists():
        return
    try:
        provider = ask_node(home.root, "status").get("provider")
    except NoNodeError:
        return
    if not provider or not provider["open_leases"]:
        return
    if model.digest.hex() not in {one["digest"] for one in provider["models"] + provider["adapters"]}:
        return
    raise NodeRefusedError(
        Fault.CONFLICT,
        f"{model.name} is on sale, and {provider['open_leases']} leases are open under which it may be ordered",
        hint="`gpufaird drain` first, or --force: jobs that want it and have not begun are then refused or fail, "
        "nobody pays for those, and the leases go on without it",
    )
