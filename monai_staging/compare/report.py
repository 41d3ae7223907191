"""A comparison's tables, figures and sentences, as files."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_staging.compare.findings import Contrast, Findings, Key
from monai_staging.compare.outcomes import Measure
from monai_staging.compare.plan import BASELINE, Comparison
from monai_staging.compare.results import Results
from monai_staging.files import atomic_path, write_json_atomic, write_text_atomic
from monai_staging.metrics.intervals import Estimate
from monai_staging.outputs.figures_compare import curves_figure, differences_figure, fractions_figure
from monai_staging.outputs.table import text_table


@dataclass(frozen=True)
class Report:
    """What a comparison leaves behind.

    Attributes:
        text: tables and sentences, Markdown that reads well as plain text.
        files: tables.
        figures: PNG files.
    """

    text: str
    files: tuple[Path, ...]
    figures: tuple[Path, ...]


def write_report(out: Path, results: Results, findings: Findings, title: str, note: str = "") -> Report:
    """Writes ``comparison.md``, ``arms.csv``, ``differences.csv``, ``findings.json`` and ``figures/*.png``.

    Args:
        out: folder of the comparison.
        results: of its arms.
        findings: its numbers.
        title: what the data is; says so of phantoms.
        note: how the numbers came about (seeds, versions, commit), a line beneath.
    """
    comparison = results.comparison
    head = findings.headline
    differences = [
        part
        for measure in findings.leading
        if findings.contrasts[measure.name]
        for part in (
            f"## {_initialisations(comparison)} against {comparison.reference}: {measure.title}",
            differences_table(findings, measure),
        )
    ]
    parts = [
        f"# {comparison.name}",
        _setting(comparison, findings, title),
        arms_table(comparison, findings),
        *differences,
        "\n".join(f"- {sentence}" for sentence in findings.conclusions),
        note,
    ]
    text = "\n\n".join(part for part in parts if part)
    files = [out / "comparison.md", out / "arms.csv", out / "differences.csv", out / "findings.json"]
    write_text_atomic(files[0], text.strip() + "\n")
    _write_arms(files[1], findings)
    _write_differences(files[2], findings)
    write_json_atomic(files[3], findings_json(findings))
    folder = out / "figures"
    figures = [fractions_figure(folder / "fractions.png", findings, subtitle=title)]
    if findings.contrasts[head.name]:
        figures.append(differences_figure(folder / "differences.png", findings, subtitle=title))
    if head.curve is not None:
        curves = curves_figure(folder / "curves.png", results, head, subtitle=title)
        figures += [curves] if curves is not None else []
    return Report(text.strip(), tuple(files), tuple(figures))


def arms_table(comparison: Comparison, findings: Findings) -> str:
    """A row a kind of arm: every figure of merit with its interval, and seconds of a run."""
    header = ["labels", "network", "start", *(measure.title for measure in findings.measures), "s a run"]
    rows = []
    for (network, init, fraction), estimates in findings.estimates.items():
        start = "" if init == BASELINE else init
        figures = [estimates[measure.name].text(3) for measure in findings.measures]
        rows.append(
            [f"{100 * fraction:g} %", network, start, *figures, f"{findings.seconds[network, init, fraction]:.0f}"]
        )
    return text_table(header, rows)


def differences_table(findings: Findings, measure: Measure) -> str:
    """A row a network, initialisation and fraction: the paired difference of a figure of merit."""
    family = findings.contrasts[measure.name]
    header = ["labels", "network", "start", f"difference of {measure.title}", "p", "p (Holm)"]
    areas = any(one.delong is not None for one in family)
    header += ["DeLong", "p"] if areas else []
    speeds = bool(findings.speeds) and measure.headline
    header += ["epochs", "seconds"] if speeds else []
    rows = []
    for one in family:
        row = [f"{100 * one.fraction:g} %", one.network, one.init, _signed(one.difference)]
        row += [_p(one.difference.p), _p(one.adjusted)]
        if areas:
            row += [_signed(one.delong), _p(one.delong.p)] if one.delong is not None else ["-", "-"]
        if speeds:
            row += _speed(findings, (one.network, one.init, one.fraction))
        rows.append(row)
    return text_table(header, rows)


def findings_json(findings: Findings) -> dict[str, Any]:
    """The numbers as one JSON document."""
    return {
        "patients": findings.patients,
        "rows": findings.rows,
        "best": dict(zip(("network", "init", "fraction"), findings.best, strict=True)),
        "arms": [
            {
                **dict(zip(("network", "init", "fraction"), key, strict=True)),
                "seconds": findings.seconds[key],
                **{name: estimate.to_json() for name, estimate in estimates.items()},
            }
            for key, estimates in findings.estimates.items()
        ],
        "differences": [
            {"measure": name, **_contrast_json(one)} for name, family in findings.contrasts.items() for one in family
        ],
        "rivals": [_contrast_json(one) for one in findings.rivals],
        "conclusions": list(findings.conclusions),
    }


def _setting(comparison: Comparison, findings: Findings, title: str) -> str:
    folds = "its own test part" if comparison.folds is None else f"{comparison.folds} folds by patient"
    seeds = ", ".join(map(str, comparison.seeds))
    return (
        f"{title}: {findings.rows} predictions of {findings.patients} patients, {folds}; seeds {seeds}. Values are "
        f"means over repetitions{'' if comparison.folds is None else ' and folds'}, with 95 % intervals over "
        "resampled patients. Of the same repetition all arms see the same patients and labels; a smaller fraction is "
        "part of a larger one."
    )


def _initialisations(comparison: Comparison) -> str:
    return ", ".join(one.name for one in comparison.initialisations if one.name != comparison.reference).capitalize()


def _speed(findings: Findings, key: Key) -> list[str]:
    speed = findings.speeds.get(key)
    if speed is None:
        return ["-", "-"]
    if math.isnan(speed.epochs):
        return [f"({speed.reached} of {speed.runs} runs)", "-"]
    return [f"{speed.epochs:.1f} ({speed.reached} of {speed.runs} runs)", f"{speed.seconds:.0f}"]


def _signed(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "-"
    text = f"{estimate.value:+.3f}"
    return text if math.isnan(estimate.low) else f"{text} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _p(value: float) -> str:
    return "-" if math.isnan(value) else "<.0001" if value < 1e-4 else f"{value:.4f}"


def _contrast_json(one: Contrast) -> dict[str, Any]:
    return {
        "network": one.network,
        "init": one.init,
        "other_network": one.other_network,
        "other_init": one.other_init,
        "fraction": one.fraction,
        **one.difference.to_json(),
        "p_holm": None if math.isnan(one.adjusted) else one.adjusted,
        "delong": None if one.delong is None else one.delong.to_json(),
    }


def _write_arms(path: Path, findings: Findings) -> None:
    header = ["network", "init", "fraction", "seconds"]
    header += [f"{measure.name}{end}" for measure in findings.measures for end in ("", "_low", "_high")]
    rows = []
    for key, estimates in findings.estimates.items():
        row: list[Any] = [*key, f"{findings.seconds[key]:.1f}"]
        for measure in findings.measures:
            one = estimates[measure.name]
            row += [f"{value:.6g}" for value in (one.value, one.low, one.high)]
        rows.append(row)
    _write_csv(path, header, rows)


def _write_differences(path: Path, findings: Findings) -> None:
    header = ["measure", "network", "init", "other_network", "other_init", "fraction"]
    header += ["difference", "low", "high", "p", "p_holm"]
    rows = [
        [
            *(name, one.network, one.init, one.other_network, one.other_init, one.fraction),
            *(f"{value:.6g}" for value in (one.difference.value, one.difference.low, one.difference.high)),
            *(f"{value:.6g}" for value in (one.difference.p, one.adjusted)),
        ]
        for name, family in [*findings.contrasts.items(), (findings.headline.name, findings.rivals)]
        for one in family
    ]
    _write_csv(path, header, rows)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
