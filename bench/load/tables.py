"""Figures by what was measured and by whose code, printed as medians; of two states of the code, as ratios too."""

from __future__ import annotations

from statistics import median


class Table:
    """Rows of figures. The first figure of each is a rate: its ratio between two trees is taken within a round."""

    def __init__(self, title: str, row_heading: str, *columns: str) -> None:
        self._title, self._columns = title, (row_heading, *columns)
        self._figures: dict[str, dict[str, list[tuple[float, ...]]]] = {}

    def add(self, name: str, tree: str, *figures: float) -> None:
        """One round's figures."""
        self._figures.setdefault(name, {}).setdefault(tree, []).append(figures)

    def print(self) -> None:
        """One line for each row and tree."""
        trees = list(next(iter(self._figures.values())))
        ratios = len(trees) > 1
        headings = [*self._columns, *(["code", f"× {trees[-1]}"] if ratios else [])]
        print(f"\n{self._title}\n\n| " + " | ".join(headings) + " |\n|" + "---|" * len(headings))
        for name, by_tree in self._figures.items():
            for tree, rounds in by_tree.items():
                cells = [_shown(median(column)) for column in zip(*rounds, strict=True)]
                cells[0] += _range([one[0] for one in rounds])
                if ratios:
                    cells += [tree, _ratio([one[0] for one in rounds], [one[0] for one in by_tree[trees[-1]]])]
                print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def _ratio(own_rates: list[float], other: list[float]) -> str:
    each = [one / two for one, two in zip(own_rates, other, strict=True)]
    return f"{median(each):.2f} ({min(each):.2f}–{max(each):.2f})"


def _range(rates: list[float]) -> str:
    return f" ({_shown(min(rates))}–{_shown(max(rates))})" if len(rates) > 1 else ""


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
