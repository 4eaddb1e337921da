"""The prose: habits of translated English in pages, notebooks, docstrings, comments and messages.

    python book/habits.py    print each with its place; `make lint` and the build run this

Each habit comes with what to write instead.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent

# Code, formulas, substitutions and HTML.
NOT_PROSE = re.compile(
    r"^(`{3,})(?!\{).*?^\1\s*$|`[^`\n]+`|\$\$.*?\$\$|\$[^$]+?\$|\{\{.*?\}\}|^<.*?>$", re.DOTALL | re.MULTILINE
)

_ONE_OF = "factor|coordinate|pixel|person|sample|page|row|run|seed|step|file|claim|class|channel|label|process|picture"
_COUNTED = "number|row|file|value|column|line|sentence|digit|second|nat|step|sample|point|run|bit|draw"
# Habits of translated English, and how to write instead.
HABITS = {
    "'is no X': write 'is not an X'": re.compile(
        r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer|more|less|fewer|further|larger|smaller|better|worse)\w+"
    ),
    "a sentence begins with a conjunction": re.compile(r"\b(?:And|But|So|Else|Nor)\b"),
    "'Who ...' as a subject: write 'If you ...'": re.compile(r"\bWho\b(?![^.!]*\?)|; who\b|\b[Ww]hoever\b"),
    "'a' for 'per'": re.compile(
        rf"\b(?:an?|one|two|three|\d+) (?:{_COUNTED})s? an? (?:{_ONE_OF})\b|\berror an? (?:{_ONE_OF})\b"
    ),
    "factors carry, encode and predict": re.compile(r"\b[Ff]actors? (?:says?|tells?|knows?)\b|\bf[ae]lls? silent\b"),
    "name what says it": re.compile(r"\b(?:is|are|was) said\b|\bsaid (?:above|below)\b|\bsays so\b"),
}
# Tests are left out of the messages, as they hold texts of others.
_CODE = ("vaemi", "companion", "book", "benchmarks", "workflow", ".ci")
_LEAST_MESSAGE = 40


def main() -> int:
    """Print every habit found, and return the exit status."""
    found = faults()
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


def faults() -> list[str]:
    """Return every habit in the prose of the project, a line each."""
    texts = [*pages().items()]
    texts += [(name, (ROOT / name).read_text(encoding="utf-8")) for name in ("README.md", "CONTRIBUTING.md")]
    found = [f"{place}: '{words}': {habit}" for place, text in [*texts, *sources()] for habit, words in habits(text)]
    bare = [f"{path}: '{line}': begin with a noun or a verb" for path, line in docstrings() if line.startswith("Of ")]
    return found + bare


def habits(text: str) -> list[tuple[str, str]]:
    """Return the habits of a text, each with the words that show it."""
    prose = " ".join(NOT_PROSE.sub("-", text).split())
    return [(habit, found[0]) for habit, pattern in HABITS.items() for found in pattern.finditer(prose)]


def pages() -> dict[str, str]:
    """Return the prose, captions and alt texts of every page, by its path."""
    paths = sorted((ROOT / "book").rglob("*.md"))
    found = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        parts: list[str] = []
        for cell in nbformat.read(path, as_version=4).cells:
            shown = cell.metadata.get("mystnb", {})
            said = [shown.get("figure", {}).get("caption", ""), shown.get("image", {}).get("alt", "")]
            parts += [cell.source] if cell.cell_type == "markdown" else said
        found[path.relative_to(ROOT).as_posix()] = "\n\n".join(parts)
    return found


def sources() -> Iterator[tuple[str, str]]:
    """Yield docstrings, comments and long texts of the code, each after its place."""
    for folder in _CODE:
        for path in sorted({*(ROOT / folder).rglob("*.py")} - {Path(__file__)}):
            text = path.read_text(encoding="utf-8")
            name = path.relative_to(ROOT).as_posix()
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > _LEAST_MESSAGE:
                    yield f"{name}:{node.lineno}", node.value
            for token in tokenize.generate_tokens(io.StringIO(text).readline):
                if token.type == tokenize.COMMENT:
                    yield f"{name}:{token.start[0]}", token.string.lstrip("#: ")


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the first line of every docstring, with its file."""
    for folder in (*_CODE, "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    yield path.relative_to(ROOT).as_posix(), (ast.get_docstring(node) or "").partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
