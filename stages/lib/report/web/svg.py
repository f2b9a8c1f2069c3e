"""Figures as SVG: the same figure gives the same bytes, its points say what they stand for, and one figure can stand beside others.

Matplotlib names a clip path by a hash of coordinates with all their digits, the last of which depend on the order in which the layout
is solved. So coordinates are rounded, and what is defined is counted.
"""

import json
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'
POINTS = "points:"  # begins the id of what has a text for each of its points
LONG = re.compile(r"(scale\([^)]*\))|(-?\d+\.\d{3,}(?:e-?\d+)?)")
LETTER = re.compile(r'<path [^>]*id="([A-Z][\w-]*-[0-9a-f]+)"[^>]*/>')  # as matplotlib names the letters of a font
PLACED = ("d", "x", "y", "width", "height", "transform")  # attributes with coordinates, in points


def points(texts: Sequence[str]) -> str:
    """The `gid` of an artist with markers: in the SVG each marker then says its text where a pointer rests on it."""
    return POINTS + json.dumps(list(texts))


def tidy(svg: bytes) -> bytes:
    """What matplotlib has written: with the texts of points, coordinates in hundredths, ids counted in order, and no metadata.

    Raises:
        ValueError: where an artist has another number of markers than texts.
    """
    for prefix, address in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(prefix, address)
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    for element in root.iter():
        _say(element)
        for name in PLACED:
            if name in element.attrib:
                element.set(name, " ".join(LONG.sub(_rounded, element.get(name)).split()))
    _count(root)
    return (HEAD + ElementTree.tostring(root, encoding="unicode") + "\n").encode()


def inlined(svgs: dict[str, str], colours: dict[str, str]) -> tuple[dict[str, Markup], Markup]:
    """SVG files as elements of one page: no headers, ids that differ between figures, and some colours in place of others.

    Args:
        svgs: by the name of the figure.
        colours: what stands in place of a colour.

    Returns:
        The elements by name; and one that shows nothing and holds the letters of all, which the page has once.
    """
    letters: dict[str, str] = {}
    figures = {name: Markup(_inlined(svg, name, letters, colours)) for name, svg in svgs.items()}
    shared = f'<svg width="0" height="0" style="position: absolute" aria-hidden="true"><defs>{"".join(letters.values())}</defs></svg>'
    return figures, Markup(shared)


def _inlined(svg: str, name: str, letters: dict[str, str], colours: dict[str, str]) -> str:
    svg = svg[svg.index("<svg") :]
    for letter in LETTER.finditer(svg):
        letters.setdefault(letter[1], letter[0])
    svg = re.sub(r"\s*\n\s*", "\n", LETTER.sub("", svg))
    svg = re.sub(r"<style[^>]*>.*?</style>|<defs>\s*</defs>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(?:xmlns(?::xlink)?|version)="[^"]*"', "", svg, count=3)
    svg = re.sub(r'(<svg[^>]*?)\s(?:width|height)="[^"]*"([^>]*?)\s(?:width|height)="[^"]*"', r"\1\2", svg, count=1)
    svg = re.sub(r'(id="|#)(?=i\d)', rf"\g<1>{name}-", svg)
    for colour, other in colours.items():
        svg = svg.replace(colour, other)
    return svg.replace("<svg", f'<svg role="img" aria-label="{name.replace("_", " ")}"', 1)


def _say(element: ElementTree.Element) -> None:
    """Give the markers of an artist their texts, and take the ids of groups, to which nothing refers."""
    if element.tag != f"{{{SVG}}}g":
        return
    gid = element.attrib.pop("id", "")
    if gid.startswith(POINTS):
        texts = json.loads(gid.removeprefix(POINTS))
        markers = list(element.iter(f"{{{SVG}}}use")) or element.findall(f"{{{SVG}}}path")  # few of a kind are written out
        for marker, text in zip(markers, texts, strict=True):
            ElementTree.SubElement(marker, f"{{{SVG}}}title").text = text


def _rounded(match: re.Match) -> str:
    scale, number = match.groups()
    return scale or f"{round(float(number), 2) + 0:.10g}"  # + 0, as -0 is 0


def _count(root: ElementTree.Element) -> None:
    """Ids in the order of the file; clip paths that are equal after rounding are one. Letters keep the names that their font gives them."""
    names: dict[str, str] = {}
    same: dict[Any, str] = {}
    for defs in root.iter(f"{{{SVG}}}defs"):
        for element in list(defs):
            old = element.attrib.pop("id", "")
            if not re.fullmatch(r"[a-zA-Z][0-9a-f]{10}", old):
                element.attrib |= {"id": old} if old else {}
                continue
            content = ElementTree.tostring(element)
            if content in same:
                defs.remove(element)
            names[old] = same.setdefault(content, f"i{len(same)}")
            element.set("id", names[old])
    for element in root.iter():
        for name, value in element.attrib.items():
            if "#" in value:
                element.set(name, re.sub(r"#(\w+)", lambda match: f"#{names.get(match[1], match[1])}", value))
