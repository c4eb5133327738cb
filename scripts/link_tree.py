"""Makes a virtual environment run the tree: adds its roots to the path and writes the `fusionrec` command.

`services` and `shared` are too generic as names to be installed anywhere; they are run from where they are.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER = """#!{python}
import sys

from shared.cli.main import main

sys.exit(main())
"""


def main() -> None:
    """Links the tree into the environment of the running interpreter."""
    site = Path(sysconfig.get_path("purelib"))
    roots = (ROOT, ROOT / "client", ROOT / "shared" / "gen")
    (site / "fusionrec_tree.pth").write_text("".join(f"{root}\n" for root in roots))
    command = Path(sysconfig.get_path("scripts")) / "fusionrec"
    command.write_text(LAUNCHER.format(python=sys.executable))
    command.chmod(0o755)


if __name__ == "__main__":
    main()
