"""The stage in a report: what is possible and why, what nobody looked at, and how probable each category is."""

from __future__ import annotations

from collections.abc import Sequence

from monai_staging.outputs.findings import StagingFinding
from monai_staging.outputs.report_markup import Markup, facts, joined, listed, section, tag
from monai_staging.outputs.report_words import in_order, percent, stage_sentence, sure
from monai_staging.outputs.reported import ReportedStudy
from monai_staging.tnm.categories import LETTERS, PREFIXES
from monai_staging.tnm.descriptors import Descriptor, descriptor_level
from monai_staging.tnm.tables import groups


def stage_section(staging: StagingFinding) -> Markup:
    """What is still possible, the reasons, and what was not assessed."""
    tnm = staging.tnm
    pairs = []
    for letter in LETTERS:
        known = "unknown: every category is possible" if tnm.is_unknown(letter) else " or ".join(tnm.ordered(letter))
        pairs.append((f"{letter.upper()} still possible", known))
    pairs.append(("Edition", f"{tnm.edition}th edition of TNM for lung cancer"))
    pairs.append(("Kind", f"{tnm.prefix}: {PREFIXES[tnm.prefix]}"))
    parts = [tag("p", f"{stage_sentence(staging)}."), facts(pairs)]
    if staging.reasons:
        parts += [tag("h3", "Reasons"), listed(staging.reasons)]
    parts += [tag("h3", "Not assessed"), _not_assessed(staging)]
    return section("Stage", *parts, name="stage")


def _not_assessed(staging: StagingFinding) -> Markup:
    """Descriptors by the T that each would give; whatever else as it is told."""
    if not staging.not_assessed:
        return tag("p", "Nothing is named that was left out.")
    known = {descriptor.value: descriptor for descriptor in Descriptor}
    raising: dict[str, list[str]] = {}
    others = []
    for name in staging.not_assessed:
        level = descriptor_level(known[name], staging.tnm.edition) if name in known else None
        if level is None:
            others.append(name)
        else:
            raising.setdefault(level, []).append(name)
    told = [f"Would give {level} at least: {', '.join(names)}" for level, names in sorted(raising.items())]
    return listed((*told, *others))


def probability_section(study: ReportedStudy) -> Markup:
    """A bar a category, with its number in text, and what the numbers rest on."""
    staging, edition = study.findings.staging, study.findings.staging.tnm.edition
    estimated = any(map(staging.probabilities, LETTERS)) or staging.group_probabilities
    charts = []
    for letter in LETTERS:
        found = in_order(letter, dict(staging.probabilities(letter)), edition)
        charts.append(_bars(f"{letter.upper()} category", found, study.letter_sets.get(letter, ())))
    order = groups(edition, occult=True)
    by_group = sorted(staging.group_probabilities.items(), key=lambda item: order.index(item[0]))
    named = staging.groups if staging.confidence is not None else ()
    charts.append(_bars("Stage group", by_group, named))
    parts = [tag("div", *charts, class_="charts") if estimated else tag("p", "No probabilities were estimated.")]
    if study.letter_sets or named:
        how = "" if staging.confidence is None else f" with {sure(staging.confidence)} confidence"
        parts.insert(0, tag("p", f"“in set”: the set that holds the true one{how}.", class_="quiet"))
    if study.calibration:
        parts += [tag("h3", "How far to believe them"), listed(study.calibration)]
    elif estimated:
        said = "Nobody has stated how well they are calibrated: take them as scores, not as chances."
        parts += [tag("h3", "How far to believe them"), tag("p", said)]
    return section("Probabilities", *parts, name="probabilities")


def _bars(title: str, found: Sequence[tuple[str, float]], within: Sequence[str]) -> Markup:
    """A chart as a table: what it shows is in its text, the bars are for the eye."""
    if not found:
        return tag("div", tag("h3", title), tag("p", "Not estimated."))
    rows = []
    for key, share in found:
        fill = tag("span", class_="fill", style=f"width: {100 * share:.1f}%")
        bar = tag("td", tag("span", fill, class_="track", aria_hidden="true"))
        mark = [tag("td", "in set" if key in within else "", class_="in")] if within else []
        rows.append(tag("tr", tag("th", key, scope="row"), bar, tag("td", percent(share), class_="number"), *mark))
    # Column headings are there for those who hear the table.
    heads = [title, "Bar", "Probability", *(["Set"] if within else [])]
    head = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in heads)), class_="unseen")
    return joined(tag("table", tag("caption", title), head, tag("tbody", *rows), class_="bars"))
