"""Draw `how_it_works.svg`: what lies over the ground in a cloudy scene, and what the product holds there.

python docs/figures/how_it_works.py
"""

from __future__ import annotations

from pathlib import Path

from cloudfree.bands import Qa
from cloudfree.product.profiles import QA_COLOURS

WIDTH, HEIGHT = 1030, 540
GROUND, ROW = 230, 58  # height of the ground in the drawing, and of a row of the table below it
INK, PAPER, SKY, SOIL = "#24303a", "#fbfaf6", "#dfeaf2", "#a9b58c"

ZONES = (
    # name, width, what the scene shows there, what the product holds there, its class
    ("clear", 150, "ground", "as observed", Qa.OBSERVED),
    ("margin", 70, "ground", "as observed", Qa.OBSERVED),
    ("thin", 110, "ground in haze", "what shows through", Qa.SEEN_THROUGH),
    ("opaque", 200, "cloud alone", "an estimate", Qa.RECONSTRUCTED),
    ("thin", 110, "ground in haze", "what shows through", Qa.SEEN_THROUGH),
    ("clear", 60, "ground", "as observed", Qa.OBSERVED),
    ("shadow", 130, "dark ground", "what shows through", Qa.SEEN_THROUGH),
    ("clear", 70, "ground", "as observed", Qa.OBSERVED),
)
LEFT = WIDTH - 15 - sum(zone[1] for zone in ZONES)
TITLES = {GROUND + 1.57 * ROW: "scene", GROUND + 2.57 * ROW + 3: "product", GROUND + 3 * ROW + 22: "quality"}


def rectangle(x: float, y: float, width: float, height: float, fill: str, more: str = "") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}" {more}/>'


def ellipse(x: float, y: float, across: float, down: float, opacity: float) -> str:
    return f'<ellipse cx="{x:g}" cy="{y:g}" rx="{across:g}" ry="{down:g}" fill="#8fa0ad" opacity="{opacity:g}"/>'


def words(
    x: float, y: float, text: str, size: float = 14, weight: int = 400, anchor: str = "middle", fill: str = INK
) -> str:
    """A text; of a narrow place, a line for each part that a bar separates."""
    lines = text.split("|")
    top = y - (len(lines) - 1) * size * 0.6
    return "".join(
        f'<text x="{x:g}" y="{top + n * size * 1.2:g}" font-size="{size:g}" font-weight="{weight}" '
        f'text-anchor="{anchor}" fill="{fill}">{line}</text>'
        for n, line in enumerate(lines)
    )


def colour(qa: Qa) -> str:
    return "rgb({},{},{})".format(*QA_COLOURS[qa][:3])


def ink_on(qa: Qa) -> str:
    """White or dark, whichever reads better on the colour of a class."""
    return INK if sum(QA_COLOURS[qa][:3]) > 400 else "#ffffff"


def clouds() -> str:
    """A cloud with thin edges over the opaque and the two thin zones."""
    middle, top = LEFT + 430, 95
    thin = [ellipse(middle + x, top + 16, 70, 20, 0.35) for x in (-150, -110, 110, 150)]
    thick = [ellipse(middle + x, top + y, 62, 34, 1) for x, y in ((-62, 6), (0, -14), (62, 6), (0, 12))]
    return "".join(thin + thick)


def light() -> str:
    """The sun, and its rays past the cloud to the ends of the shadow."""
    sun = f'<circle cx="{LEFT + 110}" cy="46" r="22" fill="#f0b429"/>'
    start, stop = LEFT + 700, LEFT + 830
    rays = "".join(
        f'<line x1="{LEFT + x}" y1="{y}" x2="{end}" y2="{GROUND}" stroke="#c98d10" stroke-dasharray="5 5"/>'
        for x, y, end in ((520, 125, start), (555, 100, stop))
    )
    return sun + rays + words(LEFT + 145, 51, "sun", anchor="start")


def satellite() -> str:
    x, y = LEFT + 640, 40
    body = rectangle(x - 9, y - 9, 18, 18, INK) + "".join(
        rectangle(x + side, y - 5, 22, 10, "#5b7fa6") for side in (-34, 12)
    )
    return body + words(x + 44, y + 5, "PlanetScope, 3 m", anchor="start")


def table() -> str:
    """Under each zone of the ground: its name, what the scene shows, what the product holds."""
    parts, x = [words(12, y, title, 13, 600, "start") for y, title in TITLES.items()], LEFT
    for name, width, shown, held, qa in ZONES:
        middle = x + width / 2
        narrow = str.maketrans(" ", "|") if width < 140 else {}
        fill = "#6f7d5a" if name == "shadow" else SOIL
        parts += [
            rectangle(x, GROUND, width, 16, fill),
            words(middle, GROUND + 44, name, 15, 600),
            rectangle(x + 1, GROUND + ROW, width - 2, ROW, "#e9e9e2"),
            words(middle, GROUND + 1.57 * ROW, shown.translate(narrow), 13),
            rectangle(x + 1, GROUND + 2 * ROW + 3, width - 2, ROW, colour(qa)),
            words(middle, GROUND + 2.57 * ROW + 3, held.translate(narrow), 13, fill=ink_on(qa)),
            words(middle, GROUND + 3 * ROW + 22, f"class {qa:d}", 13),
        ]
        x += width
    return "".join(parts)


def sources() -> str:
    """What the estimate under opaque cloud is made of."""
    top = GROUND + 3 * ROW + 52
    listed = ("Sentinel-1 radar, 10 m", "clear surroundings", "other dates, clear there")
    boxes = [
        rectangle(LEFT + 60 + 270 * n, top, 240, 34, PAPER, f'stroke="{INK}" rx="6"')
        + words(LEFT + 180 + 270 * n, top + 22, text)
        for n, text in enumerate(listed)
    ]
    middle = LEFT + 430
    arrow = f'<path d="M{middle - 8},{top - 12} L{middle},{top - 24} L{middle + 8},{top - 12} Z" fill="{INK}"/>'
    return arrow + f'<line x1="{middle}" y1="{top - 12}" x2="{middle}" y2="{top}" stroke="{INK}"/>' + "".join(boxes)


def drawing() -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif">'
    )
    back = rectangle(0, 0, WIDTH, HEIGHT, PAPER) + rectangle(0, 0, WIDTH, GROUND, SKY)
    note = words(LEFT, HEIGHT - 14, "Margin: the mask covers it, though nothing is in the way.", 13, 400, "start")
    return "".join((head, back, light(), satellite(), clouds(), table(), sources(), note, "</svg>\n"))


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(drawing(), encoding="utf-8")
