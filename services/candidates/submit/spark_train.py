"""For `spark-submit`: `python -m services.candidates train --engine spark` with the session that it gives.

spark-submit --master … spark_train.py --protocol warm --stages serving --events s3://bucket/events
"""

from __future__ import annotations

import sys

from services.candidates.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["train", "--engine", "spark", *sys.argv[1:]]))
