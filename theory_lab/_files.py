"""The one way in which files are written: whole or not at all.

Bytes go to a temporary file in the same folder, are synced and renamed, so that at every moment a file is either absent,
the old one or the new one, whoever is killed and however many write. What a killed process leaves, `remains` finds.
"""

import contextlib
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")  # as `write` calls its files, and nobody else


def write(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a file, piece by piece.

    Raises:
        OSError: the disk is full or the folder does not let us; the old file stays, and nothing is left of the new one.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def remains(folder: Path) -> list[Path]:
    """The temporary files in a folder, not in those below it; of processes that were killed, or that write just now."""
    return sorted(path for path in folder.glob(".*.tmp") if TEMPORARY.fullmatch(path.name))
