"""A table of scores as text: Markdown to read, CSV and JSON with every image."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict

from cloudfree.evaluate.score import MEASURES, Score, Table


def as_csv(table: Table) -> str:
    """One line per image, method and region, the means at the end."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Score.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(score) for score in (*table.scores, *table.averages()))
    return text.getvalue()


def as_json(table: Table) -> str:
    """Everything; null where a measure is not a finite number."""
    plain = {
        "protocol": table.protocol,
        "same_date": table.same_date,
        "keep_observed": table.keep_observed,
        "skipped": table.skipped,
        "averages": [_finite(score) for score in table.averages()],
        "images": [_finite(score) for score in table.scores],
    }
    return json.dumps(plain, indent=2, ensure_ascii=False)


def as_markdown(table: Table) -> str:
    """The means, a table a region with the best of each measure in bold."""
    parts = [_heading(table)]
    averages = table.averages()
    for region in dict.fromkeys(score.region for score in averages):
        of_region = [score for score in averages if score.region == region]
        first = of_region[0]
        parts.append(f"**{region}**: {first.pixels:,} pixels of {first.images} image{'s' if first.images > 1 else ''}")
        parts.append("\n".join(_markdown_rows(of_region)))
    return "\n\n".join(parts) + "\n"


def _heading(table: Table) -> str:
    definitions = "published definitions (not the true ones)" if table.protocol == "published" else "true definitions"
    truth = "real clouds over the clear image, truth of the same date" if table.same_date else "truth of another date"
    skipped = f"; without a masked pixel and left out: {', '.join(table.skipped)}" if table.skipped else ""
    kept = "; unmasked pixels as observed" if table.keep_observed else ""
    return f"Means over images, {definitions}; {truth}{kept}{skipped}."


def _markdown_rows(scores: list[Score]) -> Iterator[str]:
    yield "| method | PSNR dB | SSIM | SAM ° | MAE |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    formats, best_of = ("{:.2f}", "{:.3f}", "{:.2f}", "{:.4f}"), (max, max, min, min)
    columns = []
    for name, form, best in zip(MEASURES, formats, best_of, strict=True):
        texts = [form.format(getattr(score, name)) for score in scores]
        top = form.format(best((getattr(score, name) for score in scores), default=math.nan))
        columns.append([f"**{text}**" if text == top else text for text in texts])
    for score, *cells in zip(scores, *columns, strict=True):
        yield f"| {score.method} | {' | '.join(cells)} |"


def _finite(score: Score) -> dict[str, str | int | float | None]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(score).items()}
