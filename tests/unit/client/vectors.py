"""Known answers that may lie beside this tree."""

import json
from typing import Any

from tests.features import REPOSITORY

PATH = REPOSITORY.parent / "shared" / "azure-files" / "vectors.json"
VECTORS: list[dict[str, Any]] = json.loads(PATH.read_text()) if PATH.exists() else []


def vectors_missing() -> str | None:
    """Say why the known answers cannot be compared with."""
    return None if VECTORS else "vectors.json is not beside this tree"
