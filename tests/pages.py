"""Reads pages of HTML strictly, as trees."""

from html.parser import HTMLParser
from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder

VOID = {"meta", "input", "rect", "path"}


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.builder, self.open = TreeBuilder(), []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), "no attribute twice"
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self.builder.end(tag)
        else:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag in VOID
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.builder.end(tag)

    def handle_data(self, data):
        if self.open:
            self.builder.data(data)


def read_page(path: Path) -> Element:
    """The page as a tree; every element must be closed where it belongs."""
    reader = _Reader()
    reader.feed(path.read_bytes().decode())
    reader.close()
    assert reader.open == []
    return reader.builder.close()


def has_class(element: Element, name: str) -> bool:
    return name in element.get("class", "").split()


def text_of(element: Element) -> str:
    return "".join(element.itertext())


def read_marks(paragraph: Element):
    """The letters of a text, each with its (label number, level) pairs; and the labels with where they stand."""
    letters, labels = [], []

    def walk(element, inside):
        letters.extend((letter, inside) for letter in element.text or "")
        for child in element:
            if has_class(child, "label"):
                labels.append((len(letters), child))
            else:
                assert child.tag == "mark"
                level = int(child.get("style").removeprefix("--level: "))
                walk(child, [*inside, (label_number(child), level)])
            letters.extend((letter, inside) for letter in child.tail or "")

    walk(paragraph, [])
    return letters, labels


def label_number(element: Element) -> int:
    [number] = [name[1:] for name in element.get("class").split() if name.startswith("l") and name != "label"]
    return int(number)


def luminance(color: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2 defines it."""
    channels = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(first: str, second: str) -> float:
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def mix(color: str, percentage: float, paper: str) -> str:
    """What color-mix(in srgb, color percentage, transparent) looks like on the paper."""
    pairs = [(int(color[p : p + 2], 16), int(paper[p : p + 2], 16)) for p in (1, 3, 5)]
    return "#" + "".join(f"{round((one * percentage + other * (100 - percentage)) / 100):02x}" for one, other in pairs)
