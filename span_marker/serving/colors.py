"""The colors of the page, shared with all pages of the library."""

from __future__ import annotations

from span_marker.data.html import HUES, INK, PAPER, TINT


def color_sheet() -> str:
    """The colors as a style sheet: variables for light and dark mode, and one class per label hue."""

    def block(mode: int) -> str:
        hues = "".join(f"--hue-{number}: {hue[mode]};" for number, hue in enumerate(HUES))
        scheme = ("light", "dark")[mode]
        return f"color-scheme: {scheme}; --paper: {PAPER[mode]}; --ink: {INK[mode]}; --rule: {INK[mode]}33; {hues}"

    classes = "\n".join(f".c{number} {{ --hue: var(--hue-{number}); }}" for number in range(len(HUES)))
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {block(1)} }} }}"
    return f":root {{ {block(0)} --tint: {TINT}%; }}\n{dark}\n{classes}\n"
