"""cohort.json and clinical tables: valid ones, changed anywhere, in their values, their structure and their bytes."""

from __future__ import annotations

import copy
import io
import json
import random
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hostile
from openpyxl import Workbook

from monai_staging.cohort.clinical import read_clinical
from monai_staging.cohort.cohort import load_cohort

CASE: dict[str, Any] = {
    "patient": "P-001", "study": "1.2.3", "series": "1.2.4", "image": "volumes/a.nii", "mask": "masks/a.nii",
    "lesions": [
        {"kind": "primary", "site": "RUL", "center_mm": [1.0, 2.0, 3.0], "size_mm": [10.0, 9.0, 8.0],
         "diameter_mm": 10.5, "solid_diameter_mm": None, "label": 1, "boxes": [[3, 1.0, 2.0, 8.0, 9.0]],
         "malignancy": [3, 4], "ratings": {"subtlety": [4, 5]}},
    ],
    "t": ["T1b"], "n": ["N0"], "m": ["M0"], "edition": "8", "prefix": "c", "subtype": "adenocarcinoma", "fold": 0,
    "clinical": {"age": 67.5, "sex": "F", "smoking": "former", "stage": "IA2"},
}  # fmt: skip
COHORT: dict[str, Any] = {
    "name": "small", "version": 1, "spacing": [0.7, 0.7, 2.5], "source": "phantom",
    "training": [CASE, {**CASE, "patient": "P-002", "study": "1.2.5", "series": "1.2.6"}], "validation": [], "test": [],
}  # fmt: skip
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", [], {}, [[]]),
    *([None], {"a": 1}, "T1b", ["T1b", "T1b"], ["T4"], "../../etc/passwd", "/etc/passwd", "a\\b", "\x00", "\ud800"),
    *(*hostile.TEXTS, [1] * 1000, [float("nan")] * 3, "8", "9", 8, ["M1c"], [[1, 2, 3, 4, 5, 6]], "volumes/" * 3000),
)
ROWS = [
    ["Patient ID", "Age", "Sex", "Smoking", "T", "N", "M", "Stage", "Edition", "Histology"],
    ["P-001", "67", "F", "former", "T1b", "N0", "M0", "IA2", "8", "Adenocarcinoma"],
    ["P-002", "58", "M", "current", "T2a", "N1", "M0", "IIB", "8", "Squamous"],
    ["P-003", "", "", "", "TX", "NX", "M1c", "IVB", "8", ""],
]
CELLS = (
    *hostile.TEXTS,
    "T1b",
    "pT2",
    "N3",
    "Stage IIIA",
    '"',
    "=1+1",
    "#comment",
    "8th",
    "P-001",
    "nan",
    "-",
    ",",
    ";",
)


class CohortSubject:
    """A cohort's document or a clinical table each time."""

    name = "cohort"

    def __init__(self, scratch: Path) -> None:
        """Needs no files."""
        _workbook_bomb()

    def make(self, rng: random.Random, folder: Path) -> str:
        """Writes ``cohort.json``, ``table.csv`` or ``table.xlsx``."""
        return rng.choice((_json, _json, _csv, _xlsx))(rng, folder)

    def readers(self, folder: Path) -> Mapping[str, Callable[[Path], None]]:
        """By what the file is."""
        if (folder / "cohort.json").exists():
            return {"cohort.json": _load}
        return {"clinical table": _table, "clinical table without edition": _table_alone}


def mutate(rng: random.Random, document: Any) -> tuple[Any, str]:
    """A value somewhere in a JSON document replaced, removed, added, repeated or wrapped."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    owner, key = rng.choice(places)
    kind = rng.choice(("value", "value", "value", "remove", "add", "swap", "wrap", "deep"))
    if kind == "value":
        owner[key] = rng.choice(VALUES)
    elif kind == "remove":
        del owner[key]
    elif kind == "add":
        if isinstance(owner, dict):
            owner[rng.choice(("extra", "image_meta", "", "patient", "\x00"))] = rng.choice(VALUES)
        else:
            owner.append(rng.choice((*VALUES, owner[key])))
    elif kind == "swap":
        other, place = rng.choice(places)
        owner[key] = copy.deepcopy(other[place]) if isinstance(other, dict) or place < len(other) else None
    elif kind == "wrap":
        owner[key] = rng.choice(([owner[key]], {"value": owner[key]}, str(owner[key])))
    else:
        inner: Any = owner[key]
        for _ in range(rng.choice((5, 100))):
            inner = [inner]
        owner[key] = inner
    return document, f"{kind} at {key!r}"


def _places(value: Any) -> Any:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from _places(value[key])


def _json(rng: random.Random, folder: Path) -> str:
    document, done = COHORT, []
    for _ in range(rng.choice((1, 1, 2, 3))):
        document, how = mutate(rng, document)
        done.append(how)
    content = json.dumps(document).encode("utf-8", "surrogatepass")
    kind = rng.random()
    if kind < 0.15:
        content, how = hostile.mutate_bytes(rng, content)
        done.append(how)
    elif kind < 0.2:
        depth = rng.choice((100, 100_000))
        content = b"[" * depth + b"]" * depth
        done = [f"{depth} deep"]
    elif kind < 0.22:
        content = b'{"version": ' + b"9" * 5000 + b"}"
        done = ["a number of 5000 digits"]
    (folder / "cohort.json").write_bytes(content)
    return "cohort.json: " + "; ".join(done)


def _cells(rng: random.Random) -> tuple[list[list[str]], str]:
    rows = [list(row) for row in ROWS]
    done = []
    for _ in range(rng.choice((1, 2, 5))):
        kind = rng.choice(("cell", "cell", "cell", "header", "longer", "shorter", "again", "wide"))
        row = rng.choice(rows[1:])
        if kind == "cell":
            row[rng.randrange(len(row)) if row else 0 :][:1] = []
            row.insert(rng.randrange(len(row) + 1), rng.choice(CELLS))
        elif kind == "header":
            rows[0][rng.randrange(len(rows[0]))] = rng.choice((*CELLS, *ROWS[0]))
        elif kind == "longer":
            row.append(rng.choice(CELLS))
        elif kind == "shorter":
            del row[len(row) // 2 :]
        elif kind == "again":
            rows.append(list(row))
        else:
            rows[0] += [f"column {k}" for k in range(rng.choice((10, 5000)))]
        done.append(kind)
    return rows, ", ".join(done)


def _csv(rng: random.Random, folder: Path) -> str:
    rows, done = _cells(rng)
    delimiter = rng.choice((",", ",", ";", "\t", "|"))
    text = "".join(delimiter.join(row) + "\n" for row in rows)
    content = text.encode(rng.choice(("utf-8", "utf-16", "utf-8-sig", "latin-1")), "replace")
    if rng.random() < 0.25:
        content, how = hostile.mutate_bytes(rng, content)
        done += f", {how}"
    (folder / "table.csv").write_bytes(content)
    return f"csv: {done}"


def _xlsx(rng: random.Random, folder: Path) -> str:
    rows, done = _cells(rng)
    book = Workbook()
    for row in rows:
        book.active.append([cell[:30000].translate(_UNWRITABLE) for cell in row])
    buffer = io.BytesIO()
    book.save(buffer)
    content = buffer.getvalue()
    kind = rng.choice(("", "", "bytes", "bytes", "sheet", "bomb"))
    if kind == "bytes":
        content, how = hostile.mutate_bytes(rng, content)
        done += f", {how}"
    elif kind == "bomb":
        content, done = _workbook_bomb(), "a sheet of 120 MB"
    elif kind:
        content = _rewritten(rng, content)
        done += f", {kind}"
    (folder / "table.xlsx").write_bytes(content)
    return f"xlsx: {done}"


def _rewritten(rng: random.Random, content: bytes) -> bytes:
    """One part of the workbook damaged."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, hostile.mutate_bytes(rng, part)[0] if name == chosen else part)
    return target.getvalue()


@cache
def _workbook_bomb() -> bytes:
    """A workbook whose sheet is hundreds of times larger than its file."""
    book, small, target = Workbook(), io.BytesIO(), io.BytesIO()
    book.save(small)
    with zipfile.ZipFile(small) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            part = old.read(name)
            if name.endswith("sheet1.xml"):
                part = part.replace(b"</worksheet>", b'<row r="1"/>' * 10_000_000 + b"</worksheet>")
            new.writestr(name, part)
    return target.getvalue()


_UNWRITABLE = {code: "" for code in (*range(9), 11, 12, *range(14, 32), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF)}


def _load(folder: Path) -> None:
    cohort = load_cohort(folder)
    json.loads(cohort.to_text().encode())  # it can be written again


def _table(folder: Path) -> None:
    read_clinical(next(folder.iterdir()), edition="8")


def _table_alone(folder: Path) -> None:
    read_clinical(next(folder.iterdir()), edition="9", prefix="p", fill_edition=True)
