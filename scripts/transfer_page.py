"""Writes docs/explanation/does-transfer-help.md from finished comparisons, with their figures.

monai-staging compare malignancy --dataset-dir DIR
monai-staging compare staging
python scripts/transfer_page.py runs/malignancy-transfer runs/staging-transfer

A comparison takes the place of the one of its name; what is not given stays as it is.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from monai_staging.files import write_text_atomic

PAGE = Path("docs/explanation/does-transfer-help.md")
IMAGES = Path("docs/images")
FIGURES = {"fractions": "by fraction of labels", "differences": "paired differences", "curves": "while training"}

INTRODUCTION = """# Does transfer help?

Whether a network should start from weights that were trained on something else is asked of every new task, and mostly
answered by one run on one split. The tables here are paired experiments: of the same repetition, all arms see the same
patients, the same labels, the same epochs and the same augmentation; patients are the unit of every interval; each
repetition has a seed of its own. All but this paragraph was written by `scripts/transfer_page.py` from what
`monai-staging compare` found. How to read the columns is told in [](../how-to/compare.md).
"""


def main() -> None:
    """Reads the comparisons, writes the page, copies the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparisons", nargs="+", type=Path, help="folders of finished comparisons")
    arguments = parser.parse_args()
    sections = written(PAGE.read_text(encoding="utf-8")) if PAGE.is_file() else {}
    for folder in arguments.comparisons:
        text = section(folder)
        sections[heading(text)] = text
    write_text_atomic(PAGE, "\n".join([INTRODUCTION, *sections.values()]))
    print(PAGE)


def written(page: str) -> dict[str, str]:
    """The sections that the page has, by their headings."""
    parts = [f"## {part}" for part in page.split("\n## ")[1:]]
    return {heading(part): part for part in parts}


def heading(text: str) -> str:
    """A section's first line."""
    return text.splitlines()[0]


def section(folder: Path) -> str:
    """One comparison: the command, its text a level deeper, its figures."""
    settings = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    text = (folder / "comparison.md").read_text(encoding="utf-8")
    deeper = "\n".join(f"#{line}" if line.startswith("#") else line for line in text.splitlines())
    lines = [deeper, "", "The command:", "", "```bash", command(settings), "```", ""]
    for name, words in FIGURES.items():
        source = folder / "figures" / f"{name}.png"
        if source.is_file():
            target = IMAGES / f"{settings['name']}-{name}.png"
            shutil.copyfile(source, target)
            lines += [f"![{settings['name']}, {words}](../images/{target.name})", ""]
    return "\n".join(lines)


def command(settings: dict[str, Any]) -> str:
    """What ran it; data other than the bundle's own has no place here that others have too."""
    bundle = Path(settings["bundle"])
    default = yaml.safe_load((bundle / "compare.yaml").read_text(encoding="utf-8"))
    elsewhere = "" if settings["dataset_dir"] == default["dataset_dir"] else " --dataset-dir DIR"
    seeds = len(settings["seeds"])
    fewer = "" if seeds == default["seeds"] else f" --seeds {seeds}"
    return f"monai-staging compare {bundle.name}{elsewhere}{fewer}"


if __name__ == "__main__":
    main()
