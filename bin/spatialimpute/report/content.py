"""MultiQC custom content: files named `<sample>.<section>_mqc.<ext>`, read by MultiQC from their own header.

A section is a JSON file with `id`, `parent_id`, `plot_type`, `pconfig` and `data` (MultiQC docs, "Custom
content"). Files of several samples with one `id` become one plot or table; an `id` ending in the sample's name
makes a section of its own. Names, texts and order of the parents are in `assets/multiqc_config.yml`.
"""

import base64
import html
import io
import json
import math
import re
from pathlib import Path
from zlib import crc32

import numpy as np
from PIL import Image

from spatialimpute.files.tsv import harmless

#: Okabe & Ito's palette, which readers with any color vision can tell apart.
BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, GRAY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#999999",
)  # fmt: skip
VERDICT_COLORS = {"pass": GREEN, "warn": ORANGE, "fail": VERMILLION, "not assessed": GRAY}
HEADLINE_COLORS = {
    "good": GREEN,
    "limited": ORANGE,
    "do not use": VERMILLION,
    "failed": VERMILLION,
    "not assessed": GRAY,
}

#: Pixels of the widest image in the report.
EMBEDDED_WIDTH = 1200


def escape(value: object) -> str:
    """Text that comes from the user's files or parameters, safe to stand in HTML and in a table to download."""
    return html.escape(harmless(str(value)), quote=True)


def number(value: object, digits: int = 4) -> float | int | None:
    """A plain number for JSON, or None where there is none (missing, NaN, infinite)."""
    if value is None or isinstance(value, str):
        return None
    if isinstance(value, bool | np.bool_ | int | np.integer):
        return int(value)
    value = float(value)
    return round(value, digits) if math.isfinite(value) else None


def without_missing(row: dict) -> dict:
    """The entries that have a value: MultiQC leaves the cells of absent keys empty."""
    return {key: value for key, value in row.items() if value is not None}


def colored(values: dict[str, str]) -> dict:
    """A column's header entries that give each of these texts its background color."""
    names = [(f"level{i}", text, color) for i, (text, color) in enumerate(values.items())]
    return {
        "scale": False,
        "cond_formatting_rules": {name: [{"s_eq": text}] for name, text, _ in names},
        "cond_formatting_colours": [{name: color} for name, _, color in names],
    }


class SectionWriter:
    """Writes one sample's sections into a folder.

    Attributes
    ----------
    sample : name of the sample, as in the sheet
    out_dir : folder of the `_mqc` files
    """

    def __init__(self, sample: str, out_dir: str | Path):
        self.sample = sample
        self.out_dir = Path(out_dir)
        self.out_dir.mkdir(parents=True, exist_ok=True)

    def own(self, section: str) -> str:
        """The id of a section that this sample does not share with the others.

        MultiQC allows letters, digits, `-` and `_` in it; names that differ in other characters stay apart.
        """
        clean = re.sub(r"[^A-Za-z0-9_-]", "_", self.sample)
        return f"{section}-{clean}" + ("" if clean == self.sample else f"-{crc32(self.sample.encode()):08x}")

    def write(
        self,
        section: str,
        plot_type: str,
        data,
        *,
        parent: str | None = None,
        name: str = "",
        description: str = "",
        helptext: str = "",
        pconfig: dict | None = None,
        shared: bool = True,
        **config,
    ) -> Path:
        """Write one section.

        Parameters
        ----------
        section : what it shows; `id` of the section if `shared`, else the start of it
        plot_type : MultiQC's `generalstats`, `table`, `bargraph`, `linegraph`, `box` or `html`
        data : as MultiQC wants it for that type; all text in it must be escaped already
        parent : id of the heading it stands under
        name : heading of the section; plain text
        description, helptext : HTML
        shared : whether the files of all samples are merged into one section
        config : further keys of the section, as `headers` or `categories`
        """
        if isinstance(data, dict):  # MultiQC takes a row's name for a path and drops what is before a slash
            data = {name.replace("/", "&#47;"): row for name, row in data.items()}
        section_id = section if shared else self.own(section)
        content = {
            "id": section_id,
            "parent_id": parent,
            "section_name": escape(name),
            "description": description,
            "helptext": helptext,
            "plot_type": plot_type,
            **config,
            "data": data,
        }
        if plot_type != "html":
            title = {"title": escape(name), **(pconfig or {})}
            content["pconfig"] = {"id": f"{section_id}-plot", **title}
        path = self.out_dir / f"{self.sample}.{section}_mqc.json"
        path.write_text(json.dumps(without_missing(content), allow_nan=False))
        return path

    def figure(self, section: str, image: Path, *, parent: str, name: str, caption: str, alt: str) -> Path:
        """Write a section of its own with an image (a PNG file) in it; `caption` is HTML, `alt` plain text.

        The report holds a smaller copy: MultiQC puts all it shows into one file, and some of it twice.
        """
        copy = io.BytesIO()
        with Image.open(image) as opened:
            shown = opened.convert("RGB")
            shown.thumbnail((EMBEDDED_WIDTH, 100 * EMBEDDED_WIDTH))
            shown.save(copy, "WEBP", quality=65)
        encoded = base64.b64encode(copy.getvalue()).decode()
        body = f'<img class="si-figure" alt="{escape(alt)}" src="data:image/webp;base64,{encoded}">'
        return self.write(section, "html", body, parent=parent, name=name, description=caption, shared=False)
