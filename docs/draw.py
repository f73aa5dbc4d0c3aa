"""Draw the README's pictures: python docs/draw.py metrics/token_lengths.csv

For each DVC plot named, writes docs/NAME.svg and docs/NAME.png from what `dvc plots show` makes of
it, so that the pictures show what DVC shows. Needs no network and no browser.
"""

import json
import subprocess
import sys
from pathlib import Path

import vl_convert

FOLDER = Path(__file__).parent


def draw(plot: str) -> None:
    """Draw one plot file of dvc.yaml as it is in the workspace."""
    command = [sys.executable, "-m", "dvc", "plots", "show", "--json", plot]
    shown = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    (rendered,) = json.loads(shown)["data"][plot]
    # There is one revision only, so its name and colour say nothing.
    picture = rendered["content"] | {"config": {"legend": {"disable": True}}, "background": "white"}
    name = Path(plot).stem
    (FOLDER / f"{name}.svg").write_text(vl_convert.vegalite_to_svg(picture), encoding="utf-8")
    (FOLDER / f"{name}.png").write_bytes(vl_convert.vegalite_to_png(picture, scale=2))


if __name__ == "__main__":
    for plot in sys.argv[1:]:
        draw(plot)
