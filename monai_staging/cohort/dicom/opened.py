"""DICOM files as they may come from anywhere: opened so that no length in one is believed, and no bomb unpacked."""

from __future__ import annotations

import io
import os
import zlib
from pathlib import Path

from monai_staging.cohort.dicom.rules import BrokenRule, Rule
from monai_staging.cohort.limits import DICOM_DEFLATE, most_claimed

_PIECE = 1 << 20
_FREE = 1 << 22
"""Two slices of 1024 x 1024, of which one may be all air: eight bytes may be an element, and each takes its time."""


class OpenDicom(io.BufferedReader):
    """A file for pydicom to read: it is given no more than there is, whatever lengths claim, and no bomb to unpack.

    Python makes room for as much as a read asks for. And pydicom reads to a file's end in one case alone: to unpack a
    deflated data set, whole.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens ``path``; an OSError where that cannot be done."""
        super().__init__(io.FileIO(os.fspath(path)))  # pydicom takes its name for a text
        self._path = Path(path)
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes, or all that are left.

        Raises:
            BrokenRule: all that are left unpack to more than a deflated file may hold.
        """
        if size is None or size < 0:
            content = super().read()
            self._check_unpacked(content)
            return content
        return super().read(size if size < _PIECE else min(size, max(self._size - self.tell(), 0)))

    def _check_unpacked(self, content: bytes) -> None:
        """Unpacks piece by piece, keeps nothing, and stops where it is too much."""
        unpacker, held, most = zlib.decompressobj(-zlib.MAX_WBITS), 0, most_claimed(self._size, DICOM_DEFLATE, _FREE)
        try:
            while content and not unpacker.eof:
                held += len(unpacker.decompress(content, _PIECE))
                content = unpacker.unconsumed_tail
                if held > most:
                    found = f"{self._path.name} unpacks its {self._size} bytes to more than {most}; refuse a bomb."
                    raise BrokenRule(Rule.IMPLAUSIBLE_SIZE, found)
        except zlib.error:  # for pydicom to say
            return
