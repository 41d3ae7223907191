from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from monai_staging.cli import main as cli

project = "monai-staging"
author = "The monai-staging contributors"
copyright = author
release = version = importlib.metadata.version("monai-staging")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "fieldlist", "colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = "monai-staging"
html_show_copyright = False
html_show_sphinx = False


def command_help(name: str | None = None) -> str:
    """What ``monai-staging [NAME] --help`` prints, 100 columns wide."""
    printed = io.StringIO()
    os.environ["COLUMNS"] = "100"
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        cli.main([name, "--help"] if name else ["--help"])
    return printed.getvalue()


class CommandHelp(Directive):
    """``{command-help}``: the help of the whole command line, and of each command under a heading of its own."""

    def run(self) -> list[nodes.Node]:
        parts: list[nodes.Node] = [nodes.literal_block(text=command_help(), language="text")]
        for name in cli.COMMANDS:
            section = nodes.section(ids=[name])
            section += nodes.title(text=name)
            section += nodes.literal_block(text=command_help(name), language="text")
            parts.append(section)
        return parts


def setup(app: Sphinx) -> None:
    app.add_directive("command-help", CommandHelp)
