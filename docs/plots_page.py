"""Let `dvc plots show` and `dvc plots diff` write pages that open with no network:
python -m docs.plots_page

Writes .dvc/plots.html, the page that DVC puts its plots into, with Vega in place of DVC's links to
it, and names it in .dvc/config.local. `make repro` runs this. Neither file is in git: the page is
0.9 MB of other people's programs, which vl-convert has brought along. Where there is none, DVC
writes its usual pages, which fetch Vega when they are opened.
"""

import subprocess
import sys
from pathlib import Path

import vl_convert

from reward.harness.files import replacing

PAGE = Path(__file__).parents[1] / ".dvc/plots.html"

EMBED = "window.vegaEmbed = vegaEmbed;"  # what the plots of DVC's page call

# DVC fills in what stands in single braces. Whatever a plot holds, the policy lets nothing be
# fetched; Vega compiles its expressions, which is an eval.
TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src 'self' data:">
{refresh_tag}
<title>Plots of the reward model</title>
<style>
body { margin: 2rem; font-family: system-ui, sans-serif }
body > div { margin-bottom: 2.5rem }
</style>
<script>
VEGA
</script>
</head>
<body>
<h1>Plots of the reward model</h1>
{plot_divs}
</body>
</html>
"""


def main() -> None:
    """Write the page, then tell DVC of it."""
    page = TEMPLATE.replace("VEGA", vl_convert.javascript_bundle(EMBED))
    with replacing(PAGE) as partial:
        partial.write_text(page, encoding="utf-8")
    setting = ["config", "--local", "plots.html_template", PAGE.name]
    subprocess.run([sys.executable, "-m", "dvc", *setting], cwd=PAGE.parent, check=True)


if __name__ == "__main__":
    main()
