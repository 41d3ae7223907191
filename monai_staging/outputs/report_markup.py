"""HTML as values: everything is escaped where it is put in, unless it is HTML already."""

from __future__ import annotations

import html

from monai_staging.outputs.report_style import STYLE

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A page loads nothing, runs nothing, and sends nothing."""
_VOID = frozenset({"img", "meta"})


class Markup(str):
    """HTML that is put in as it is."""

    __slots__ = ()


def escaped(text: str) -> Markup:
    """Text as HTML; HTML as it is."""
    return text if isinstance(text, Markup) else Markup(html.escape(text))


def joined(*parts: str) -> Markup:
    """Parts one after the other, texts among them escaped."""
    return Markup("".join(map(escaped, parts)))


def tag(name: str, *children: str, **attributes: str | None) -> Markup:
    """An element.

    Args:
        name: of the element.
        children: what is in it; texts are escaped.
        attributes: ``class_`` stands for ``class``, ``data_label`` for ``data-label``; one that is None is left out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{given}>" if name in _VOID else f"<{name}{given}>{joined(*children)}</{name}>")


def listed(items: tuple[str, ...]) -> Markup:
    """A list without an order."""
    return tag("ul", *(tag("li", item) for item in items))


def facts(pairs: list[tuple[str, str]]) -> Markup:
    """Names and what they stand for."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs), class_="facts")


def section(title: str, *children: str, name: str) -> Markup:
    """A section with its heading.

    Args:
        title: the heading.
        children: what follows.
        name: of the section in the page, unique there.
    """
    heading = f"{name}-heading"
    return tag("section", tag("h2", title, id=heading), *children, id=name, aria_labelledby=heading)


def table(caption: str, header: list[str], rows: list[list[str]], *, numbers: frozenset[int] = frozenset()) -> Markup:
    """A table whose rows become cards on a narrow screen; the first cell of a row is its heading.

    Args:
        caption: what is in it.
        header: a title a column.
        rows: cells.
        numbers: the columns that are set to the right.
    """
    # Roles are said outright: some browsers forget them where a row is laid out as a card.
    looks = ["number" if place in numbers else None for place in range(len(header))]
    head = [
        tag("th", title, scope="col", role="columnheader", class_=look)
        for title, look in zip(header, looks, strict=True)
    ]
    body = [
        tag(
            "tr",
            tag("th", row[0], scope="row", role="rowheader", class_=looks[0], data_label=header[0]),
            *(
                tag("td", cell, role="cell", class_=look, data_label=title)
                for cell, title, look in zip(row[1:], header[1:], looks[1:], strict=True)
            ),
            role="row",
        )
        for row in rows
    ]
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *head, role="row"), role="rowgroup"),
        tag("tbody", *body, role="rowgroup"),
        role="table",
        class_="cards",
    )


def page(title: str, *body: str) -> str:
    """A whole page, which needs nothing beside it."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, tag('body', tag('main', *body)), lang='en')}\n"
