"""`python -m shared.cli`: the `fusionrec` command without its launcher."""

from __future__ import annotations

import sys

from shared.cli.main import main

sys.exit(main())
