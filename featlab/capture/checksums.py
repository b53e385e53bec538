"""The checksums in a file of `torch.save`, which PyTorch writes and does not compare when it loads."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

_PIECE = 1 << 20  # bytes at a time


def damaged_record(file: Path) -> str | None:
    """Name a record of an archive that is not as it was written; None where all are whole.

    Where no record fits its checksum, none was written: `torch.serialization.set_crc32_options(False)` leaves them out.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> file = Path(tempfile.mkdtemp()) / "weights.pt"
    >>> torch.save({"weight": torch.full((4, 4), 1.5)}, file)
    >>> damaged_record(file)
    >>> data = file.read_bytes()
    >>> _ = file.write_bytes(data.replace(b"\\0\\0\\xc0\\x3f", b"\\0\\0\\xc0\\x3e", 1))
    >>> damaged_record(file)
    'weights/data/0'
    """
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        damaged = [record.filename for record in records if not _is_whole(archive, record)]
    return damaged[0] if 0 < len(damaged) < len(records) else None


def _is_whole(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(record) as stream:
            while stream.read(_PIECE):
                pass
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError):
        return False
    return True
