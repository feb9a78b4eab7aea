"""What the owner decides, in one file. Rule: read once, checked whole, frozen; an unknown key is an error."""

from gpufair.provider.config.reading import load
from gpufair.provider.config.sections import (
    DIGITS_MIN,
    LICENCE,
    NO_LICENCE,
    PINNED,
    Config,
    CostPlusConfig,
    LedgerConfig,
    LimitsConfig,
    ModelsConfig,
    NodeConfig,
    PriceConfig,
    UtilisationConfig,
    WorkersConfig,
)

__all__ = [
    "DIGITS_MIN",
    "LICENCE",
    "NO_LICENCE",
    "PINNED",
    "Config",
    "CostPlusConfig",
    "LedgerConfig",
    "LimitsConfig",
    "ModelsConfig",
    "NodeConfig",
    "PriceConfig",
    "UtilisationConfig",
    "WorkersConfig",
    "load",
]
