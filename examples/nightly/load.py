"""The first step of the nightly example: makes a day's trades, checks them, and ends with 10 if there are none."""

import sys

from deephaven import empty_table

rows = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
print("loading", sys.argv[1])
trades = empty_table(rows).update(["Id = ii", "Price = 100 + (ii % 17) * 0.25", "Size = (int)(1 + ii % 5)"])
if trades.size == 0:
    sys.exit(10)
