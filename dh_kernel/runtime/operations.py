"""What is known of Deephaven's table operations without calling them: their text arguments, and what they do to the columns.

Neighbours: `tableshape` (applies the effects), `columns` (asks for the roles). Data only.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Role(enum.Enum):
    """What the text in an argument is."""

    NAMES = "names"  # columns, or `New = Old`
    FORMULA = "formula"  # `New = expression of columns`
    FILTER = "filter"  # an expression of columns
    MATCH = "match"  # `Left = Right`, a column of each table
    RIGHT = "right"  # columns of the other table, or `New = Right`
    RANGE = "range"  # `Left < Right < Left`
    OTHER = "other"  # the other table
    PARTS = "parts"  # aggregations or operations, which have arguments of their own


@dataclass(frozen=True)
class Operation:
    """A method of tables: what it does to the columns, and its parameters in order with their roles."""

    effect: str
    parameters: tuple[tuple[str, Role | None], ...]

    def role(self, name: str) -> Role | None:
        """What the text in an argument is; None if it is no text of columns."""
        return dict(self.parameters).get(name)


_JOIN = "table:other on:match joins:right"
_BY = "by:names"
_TABLE_OPERATIONS = f"""
where keep filters:filter
where_one_of keep filters:filter
where_in keep filter_table:other cols:match
where_not_in keep filter_table:other cols:match
head keep num_rows
tail keep num_rows
head_pct keep pct
tail_pct keep pct
slice keep start stop
slice_pct keep start_pct end_pct
sort keep order_by:names order
sort_descending keep order_by:names
restrict_sort_to keep cols:names
with_order_for_column keep col_name:names order
assert_sorted keep col_name:names order description
reverse keep
flatten keep
coalesce keep
remove_blink keep
snapshot keep
with_attributes keep attrs
without_attributes keep attrs
with_keys keep cols:names
with_unique_keys keep cols:names
move_columns keep idx cols:names
move_columns_up keep cols:names
move_columns_down keep cols:names
format_columns keep formulas:formula
format_column_where keep col:names cond:filter formula:filter
format_row_where keep cond:filter formula:filter
layout_hints keep front:names back:names freeze:names hide:names column_groups:names search_display_mode
has_columns none cols:names
iter_dict none cols:names chunk_size
iter_tuple none cols:names tuple_name chunk_size
iter_chunk_dict none cols:names chunk_size
iter_chunk_tuple none cols:names tuple_name chunk_size
to_string none num_rows cols:names
snapshot_when stamp trigger_table:other stamp_cols:right initial incremental history
drop_columns drop cols:names
rename_columns rename cols:names
update add formulas:formula
lazy_update add formulas:formula
update_view add formulas:formula
view pick formulas:formula
select pick formulas:formula
select_distinct pick formulas:formula
natural_join join {_JOIN} type
exact_join join {_JOIN}
join join {_JOIN}
aj join {_JOIN}
raj join {_JOIN}
range_join range table:other on:range aggs:parts
head_by keep num_rows {_BY}
tail_by keep num_rows {_BY}
first_by keep {_BY}
last_by keep {_BY}
min_by keep {_BY}
max_by keep {_BY}
sum_by mixed {_BY}
abs_sum_by mixed {_BY}
median_by mixed {_BY}
avg_by double {_BY}
std_by double {_BY}
var_by double {_BY}
weighted_sum_by mixed wcol:names {_BY}
weighted_avg_by double wcol:names {_BY}
group_by mixed {_BY}
ungroup mixed cols:names
count_by count col:names {_BY}
agg_by aggregate aggs:parts {_BY} preserve_empty initial_groups
partitioned_agg_by aggregate aggs:parts {_BY} preserve_empty initial_groups
agg_all_by mixed agg:parts {_BY}
partition_by partition {_BY} drop_keys
update_by operate ops:parts {_BY}
rollup none aggs:parts {_BY} include_constituents
tree none id_col:names parent_col:names promote_orphans
"""
_PARTITIONED_OPERATIONS = """
proxy proxy require_matching_keys sanity_check_joins
merge merge
get_constituent merge key_values
filter same filters:filter
sort same order_by:names order
"""
_FUNCTIONS = """
full_outer_join join l_table r_table:other on:match joins:right
left_outer_join join l_table r_table:other on:match joins:right
MultiJoinInput none table on:names joins:names
time_window window table ts_col:names window bool_col:names
ring_table keep parent capacity initialize
to_pandas none table cols:names dtype_backend conv_null
to_numpy none table cols:names
to_arrow none table cols:names
keyed_transpose none table aggs:parts row_by_cols:names col_by_cols:names initial_groups:other
write_csv none table path cols:names
one_click none t by:names require_all_filters
"""
# Those of `deephaven.agg`: the type of what they make is that of the column (keep), or given, or not known (-).
_AGGREGATIONS = """
sum_ - cols:names
abs_sum - cols:names
group - cols:names
avg double cols:names
count_ long col:names
count_where long col:names filters:filter
partition - col:names include_by_columns
count_distinct long cols:names count_nulls
first keep cols:names
last keep cols:names
formula - formula:formula formula_param cols:names reaggregating
min_ keep cols:names
max_ keep cols:names
median - cols:names average_evenly_divided
pct - percentile cols:names average_evenly_divided
sorted_first keep order_by:names cols:names
sorted_last keep order_by:names cols:names
std double cols:names
var double cols:names
unique keep cols:names include_nulls non_unique_sentinel
distinct - cols:names include_nulls
weighted_avg double wcol:names cols:names
weighted_sum - wcol:names cols:names
"""
# Those of `deephaven.updateby`. `*` stands for the statistics that come in both kinds.
_UPDATES = """
ema_tick double decay_ticks cols:names op_control
ema_time double ts_col:names decay_time cols:names op_control
cum_sum - cols:names
cum_prod - cols:names
cum_min keep cols:names
cum_max keep cols:names
cum_count_where long col:names filters:filter
forward_fill keep cols:names
delta - cols:names delta_control
rolling_*_tick - cols:names rev_ticks fwd_ticks
rolling_*_time - ts_col:names cols:names rev_time fwd_time
rolling_wavg_tick double wcol:names cols:names rev_ticks fwd_ticks
rolling_wavg_time double ts_col:names wcol:names cols:names rev_time fwd_time
rolling_formula_tick - formula:formula formula_param cols:names rev_ticks fwd_ticks
rolling_formula_time - ts_col:names formula:formula formula_param cols:names rev_time fwd_time
rolling_count_where_tick long col:names filters:filter rev_ticks fwd_ticks
rolling_count_where_time long ts_col:names col:names filters:filter rev_time fwd_time
"""
_FILTERS = """
or_ none filters:filter
and_ none filters:filter
not_ none filter_:filter
is_null none col:names
is_not_null none col:names
pattern none mode col:names regex invert_pattern
in_ none col:names values
eq none left:names right:names
ne none left:names right:names
lt none left:names right:names
le none left:names right:names
gt none left:names right:names
ge none left:names right:names
"""
# What stands around text without being an operation of its own: `Selectable.parse("Y = X")`.
_WRAPPERS = """
parse none formula:formula
asc none col:names
desc none col:names
ColumnName none name:names
format_column none formulas:formula
"""
_STATISTICS = ("sum", "group", "avg", "min", "max", "prod", "count", "std")
_SMOOTHED = ("ems", "emmin", "emmax", "emstd")


def _parsed(lines: str) -> dict[str, Operation]:
    found: dict[str, Operation] = {}
    for line in lines.split("\n"):
        name, _, rest = line.partition(" ")
        if not name:
            continue
        effect, *parameters = rest.split()
        pairs = (parameter.partition(":") for parameter in parameters)
        found[name] = Operation(effect, tuple((key, Role(role) if role else None) for key, _, role in pairs))
    return found


def _spread(updates: dict[str, Operation]) -> dict[str, Operation]:
    found = {name: operation for name, operation in updates.items() if "*" not in name}
    for name, operation in updates.items():
        found.update({name.replace("*", each): operation for each in _STATISTICS if "*" in name})
        found.update({name.replace("ema", each): operation for each in _SMOOTHED if name.startswith("ema_")})
    return found


TABLE_OPERATIONS = _parsed(_TABLE_OPERATIONS)
PARTITIONED_OPERATIONS = _parsed(_PARTITIONED_OPERATIONS)
FUNCTIONS = _parsed(_FUNCTIONS)
AGGREGATIONS = _parsed(_AGGREGATIONS)
UPDATES = _spread(_parsed(_UPDATES))
PARTS = {**_parsed(_FILTERS), **_parsed(_WRAPPERS), **AGGREGATIONS, **UPDATES}

# What formulas can say beside columns and variables. Source: the classes that Deephaven imports into formulas, 42.
FORMULA_VARIABLES = {"i": "int", "ii": "long", "k": "long"}
_FUNCTION_NAMES = """
abs acos asin atan atMidnight avg ceil clamp concat cos count countDistinct cumprod cumsum dayOfMonth dayOfWeek dayOfYear
diffDays diffMillis diffMinutes diffNanos diffSeconds distinct epochMicros epochMillis epochMillisToInstant epochNanos
epochNanosToInstant epochSeconds exp first floor formatDate formatDateTime hourOfDay ifelse in inRange isAfter isBefore
isBusinessDay isBusinessTime isFinite isInf isNaN isNull last len log log10 log1p lowerBin max median millisOfSecond min minus
minuteOfDay minuteOfHour monthOfYear nanosOfSecond now nth parseDouble parseDuration parseInstant parseInt parseLocalDate
parseLocalTime parseLong percentile plus pow product random randomBool randomDouble randomFloat randomGaussian randomInt
randomLong rank replaceIfNaN replaceIfNull reverse rint round secondOfDay secondOfMinute signum sin sort sortDescending sqrt
std sum tan timeZone toInstant toLocalDate toLocalTime toZonedDateTime today upperBin var wavg wsum year
"""
FORMULA_FUNCTIONS = tuple(_FUNCTION_NAMES.split())
_CONSTANT_NAMES = "true false null SECOND MINUTE HOUR DAY WEEK NULL_INT NULL_LONG NULL_DOUBLE"
FORMULA_CONSTANTS = tuple(_CONSTANT_NAMES.split())
