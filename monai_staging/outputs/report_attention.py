"""Where along the scan the staging network looked, as curves that grow with the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from monai_staging.outputs.report_markup import Markup, joined, tag
from monai_staging.outputs.report_words import percent
from monai_staging.outputs.reported import FloatArray, SliceAttention
from monai_staging.tnm.categories import LETTERS

WIDTH, HEIGHT, HEADROOM = 1000.0, 100.0, 1.08
"""Of the drawing, in its own units, and what is left above the highest curve."""
Span = tuple[float, float]


def attention_charts(attention: SliceAttention, spans_mm: Sequence[Span]) -> Markup:
    """A curve a letter from the feet on the left to the head on the right, the lesions as bands behind it.

    All letters have one scale, so that their curves compare.

    Args:
        attention: weights by slice.
        spans_mm: lowest and highest z of each lesion, RAS mm.
    """
    order = np.argsort(attention.z_mm, kind="stable")
    z_mm = attention.z_mm[order]
    letters = [letter for letter in LETTERS if letter in attention.weights]
    highest = max(float(attention.weights[letter].max()) for letter in letters)
    return joined(*(_chart(letter, z_mm, attention.weights[letter][order], highest, spans_mm) for letter in letters))


def _chart(letter: str, z_mm: FloatArray, weights: FloatArray, highest: float, spans_mm: Sequence[Span]) -> Markup:
    step_mm = float(np.diff(z_mm).mean()) if len(z_mm) > 1 else 1.0
    low, high = float(z_mm[0]) - step_mm / 2, float(z_mm[-1]) + step_mm / 2
    scale = WIDTH / (high - low)
    x = (z_mm - low) * scale
    y = HEIGHT * (1 - weights / (highest * HEADROOM))
    even = HEIGHT * (1 - 1 / (len(weights) * highest * HEADROOM))
    curve = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    bands = []
    for start, end in spans_mm:
        left, right = (min(max((place - low) * scale, 0.0), WIDTH) for place in (start, end))
        bands.append(
            tag(
                "rect", class_="band", x=f"{left:.1f}", y="0", width=f"{max(right - left, 2):.1f}", height=f"{HEIGHT:g}"
            )
        )
    said = _sentence(letter, z_mm, weights, [(start - step_mm / 2, end + step_mm / 2) for start, end in spans_mm])
    drawing = tag(
        "svg",
        *bands,
        tag("line", class_="even", x1="0", x2=f"{WIDTH:g}", y1=f"{even:.1f}", y2=f"{even:.1f}"),
        tag("polyline", class_="curve", points=curve),
        viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"Attention of {said}",
    )
    ends = tag(
        "div", tag("span", f"feet, z = {z_mm[0]:.0f} mm"), tag("span", f"head, z = {z_mm[-1]:.0f} mm"), class_="ends"
    )
    return tag("div", tag("p", tag("strong", said[:1]), said[1:]), drawing, ends, class_="along")


def _sentence(letter: str, z_mm: FloatArray, weights: FloatArray, spans_mm: Sequence[Span]) -> str:
    """Where most of it is, and how much of it lies in ranges of z, the lesions'."""
    top = int(weights.argmax())
    text = f"{letter.upper()}: most at z = {z_mm[top]:.0f} mm"
    if not spans_mm:
        return f"{text}."
    within = np.any([(start <= z_mm) & (z_mm <= end) for start, end in spans_mm], axis=0)
    return f"{text}; {percent(float(weights[within].sum()))} of it on slices with a lesion."
