"""What README and docs promise exists, and what exists is told there."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest
from source_tree import ROOT, project_files

from locks import environment
from provenance_guard.cli.arguments import build_parser

README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [path for path in project_files(".md") if "golden" not in path.parts]


def verbs() -> dict[str, argparse.ArgumentParser]:
    """The verbs of the command line and their parsers."""
    parser = build_parser()
    (action,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(action.choices)


def test_run_py_knows_the_verbs_of_the_command_line() -> None:
    assert set(environment.VERBS) == set(verbs())


@pytest.mark.parametrize("verb", sorted(verbs()))
def test_every_verb_is_in_the_readme_and_has_help(verb: str) -> None:
    assert re.search(rf"`{verb}\b|run\.py {verb}\b", README), f"README does not tell of {verb}"
    parser = verbs()[verb]
    assert len(parser.format_help()) > len(parser.format_usage())
    undocumented = [action.dest for action in parser._actions if not (action.help or action.metavar)]
    assert [name for name in undocumented if name not in {"port", "strength"}] == []


def test_every_command_in_the_documents_exists() -> None:
    known = {*environment.VERBS, *environment.TOOLS, "VERB", "--help", "--releases"}
    unknown = [
        f"{path.name}: run.py {verb}"
        for path in DOCUMENTS
        for verb in re.findall(r"run\.py ([\w-]+)", path.read_text(encoding="utf-8"))
        if verb not in known
    ]
    assert unknown == []


def test_every_option_in_the_readme_exists() -> None:
    known = {option for parser in verbs().values() for action in parser._actions for option in action.option_strings}
    known |= {"--provenance-policy", "--releases"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - known == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_inside_the_project_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in local if not (path.parent / link).exists()] == []


def test_supported_pythons_are_told_the_same_everywhere() -> None:
    oldest, newest = min(environment.FAMILIES), max(environment.FAMILIES)
    span = f"Python {oldest[0]}.{oldest[1]} to {newest[0]}.{newest[1]}"
    assert span in README
    assert span in environment.USAGE
    assert f'requires-python = ">={oldest[0]}.{oldest[1]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
