"""Write the table of the ``ray.*`` entries from the comments behind them.

Run from the root of the repository::

    python -m docs.make_reference
"""

from __future__ import annotations

from pathlib import Path

from sacred_ray_ingredient import ray_ingredient

PAGE = Path(__file__).parent / "configuration.md"
_BEGIN = "<!-- table: begin -->\n"
_END = "<!-- table: end -->\n"


def table() -> str:
    """Return the table in Markdown."""
    (scope,) = ray_ingredient.configurations
    entries = scope()
    rows = ["| entry | default | meaning |", "| --- | --- | --- |"]
    for name, default in entries.items():
        rows.append(f"| `ray.{name}` | `{default!r}` | {scope._var_docs[name].lstrip('# ')} |")
    return "\n".join(rows) + "\n"


def page_with_table(page: str) -> str:
    """Put the table of today between its marks in the page."""
    before, rest = page.split(_BEGIN)
    _, after = rest.split(_END)
    return before + _BEGIN + table() + _END + after


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
