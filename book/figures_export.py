"""Export every figure of the book for slides: SVG and PNG, on white, with a licence line below it.

    python book/figures_export.py --profile quick

The program stages the pages as `build.py` does.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import build
import yaml
from pictures import PIXELS, Picture, caption_to_html, for_slides, licence, pictures_of, to_png
from templates import ROOT, render

from companion.errors import CompanionError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Write every figure of a profile's pages for slides.")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--build", type=Path, default=ROOT / "_build", help="where figures/ goes")
    options = parser.parse_args(arguments)
    try:
        written = export(options.profile, options.results, options.build / "figures")
    except CompanionError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"figures: {error.filename}: {error.strerror}.", file=sys.stderr)
        return 1
    print(f"{len(written)} figures are in {options.build / 'figures'}: open index.html there.")
    return 0


def export(profile: str, results: Path, target: Path) -> list[Picture]:
    """Export the figures of a profile with a contact sheet to a folder, which appears when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        source, whole = Path(scratch) / "source", Path(scratch) / "figures"
        build.stage(profile, results, source)
        config = yaml.safe_load((source / "_config.yml").read_text(encoding="utf-8"))
        pictures = list(pictures_of(source, build.pages(source), config["sphinx"]["config"]["myst_substitutions"]))
        address = config["repository"]["url"]
        lines = {picture.name: licence(picture, results / profile, address) for picture in pictures}
        shutil.copytree(source / "extra" / "_static" / "mathjax", whole / "mathjax")
        for picture in pictures:
            svg = for_slides(picture, lines[picture.name])
            (whole / f"{picture.name}.svg").write_text(svg, encoding="utf-8")
            (whole / f"{picture.name}.png").write_bytes(to_png(svg))
        sheet = render(
            "figures.html", pictures=pictures, lines=lines, profile=profile, pixels=PIXELS, to_html=caption_to_html
        )
        (whole / "index.html").write_text(sheet, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        whole.rename(target)
    return pictures


if __name__ == "__main__":
    sys.exit(main())
