"""XML from elsewhere, without a document type: that is where entities, which can grow without bound, are declared."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

from monai_staging.errors import DataError

Element = ElementTree.Element


class _NoDoctype(ElementTree.TreeBuilder):
    """Builds the tree of a document without a document type."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        """Called where the declaration begins, before anything in it is read."""
        raise ValueError(f"it declares the document type {name}, which the files of this source do not")


def read_root(path: Path, what: str = "XML") -> Element:
    """The root element of a file.

    Args:
        path: the file.
        what: it should be, for the error's message.

    Raises:
        DataError: it cannot be read or parsed, or declares a document type.
    """
    try:
        parser = ElementTree.XMLParser(target=_NoDoctype())
        parser.feed(path.read_bytes())
        root: Element = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path.name} cannot be read as {what} ({error}).") from None
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror}).") from None
    return root
