"""Write reports/quickstart: tables of `peftlens quickstart`, and the page's first two figures.

peftlens quickstart --out quickstart
python analyses/quickstart.py quickstart
"""

import sys
from pathlib import Path

from measured import opened, read

OUT = Path(__file__).parent.parent / "reports" / "quickstart"
TABLES = ("task_accuracy", "rank_chart", "forgetting", "parameter_count",
          "soft_prompt_neighbors", "soft_prompt_null")  # fmt: skip
FIGURES = ("plot-task_accuracy-0-0", "plot-forgetting-0-0")


def main(study: Path) -> None:
    """All rows that were measured; the figures as Chromium draws them in light mode."""
    for name in TABLES:
        frame = read(study, name).drop(columns=["status", "reason"], errors="ignore")
        frame.to_csv(OUT / f"{name}.csv", index=False)
    with opened(study / "report.html", 1000, 1060) as page:
        for name in FIGURES:
            page.locator(f"#{name}").scroll_into_view_if_needed()  # figures are drawn when seen
            page.wait_for_selector(f"#{name} .main-svg")
        boxes = [page.locator(f"figure:has(#{name})") for name in FIGURES]
        # nothing but the two figures, one below the other
        page.evaluate(
            "figures => document.body.replaceChildren(...figures)",
            [box.element_handle() for box in boxes],
        )
        page.locator("body").screenshot(path=OUT / "figures.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
