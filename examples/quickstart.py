"""A first script: `jupyter run --kernel deephaven examples/quickstart.py`."""

from deephaven import agg, empty_table

trades = empty_table(1_000).update(
    [
        "Symbol = new String[]{`AAPL`, `MSFT`, `NVDA`}[i % 3]",
        "Price = 100 + 10 * Math.sin(i / 50.0)",
        "Size = 1 + (i * 7) % 20",
    ]
)
print(f"{trades.size} trades")
by_symbol = trades.agg_by([agg.count_("Trades"), agg.sum_("Size"), agg.avg("AvgPrice = Price")], by="Symbol")
