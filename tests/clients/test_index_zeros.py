"""Rows that begin with zeros: by cosine they have no distance, NaN, to a query of so few dimensions.

They are not zeros as a whole, so the index cannot keep them apart: it finds out when it compares them.
"""

import numpy as np
import pytest
from rows import EXACT, both_ways, clustered, fill, problems


@pytest.fixture
def beginning(connection):
    """3,000 rows, of which every fifth begins with eight zeros; some are zeros altogether, some NULL."""
    connection.execute("CREATE TABLE beginning (id int PRIMARY KEY, emb mrlvec(24))")
    vectors = clustered(3000, 24, 1)
    vectors[::5, :8] = 0
    vectors[3::200] = 0
    fill(connection, "beginning", id=np.arange(3000), emb=vectors)
    connection.execute("UPDATE beginning SET emb = NULL WHERE id % 300 = 4")
    connection.execute("CREATE INDEX beginning_emb ON beginning USING mrl (emb mrlvec_cosine_ops); ANALYZE beginning")
    assert problems(connection, "beginning_emb") == []
    yield connection
    connection.execute("DROP TABLE beginning")


@pytest.mark.parametrize("settings", ["RESET mrl.probes", EXACT], ids=["defaults", "exact"])
@pytest.mark.parametrize("dimensions", [1, 3, 8, 9, 24])
@pytest.mark.parametrize("limit", [10, 5000])
def test_rows_without_a_distance_come_last(beginning, settings, dimensions, limit):
    """As SQL orders NaN: after all numbers, before NULL."""
    beginning.execute(settings)
    query = "[" + ",".join((["1", "-0.5", "0.25"] * 8)[:dimensions]) + "]"
    ask = f"emb <=> '{query}'"
    statement = f"SELECT array_agg(d) FROM (SELECT {ask} AS d FROM beginning ORDER BY {ask} LIMIT {limit}) s"
    ((found,),), ((exact,),) = both_ways(beginning, statement, "beginning_emb")
    assert len(found) == len(exact)
    kinds, expected = (
        ["NULL" if d is None else "NaN" if np.isnan(d) else "number" for d in distances] for distances in (found, exact)
    )
    if settings != EXACT and limit > 20:
        # Of a later round rows may come that are nearer than those of the one before it.
        kinds, expected = sorted(kinds), sorted(expected)
    assert kinds == expected
    if settings == EXACT:
        numbers = [d for d in found if d is not None and not np.isnan(d)]
        assert numbers == [d for d in exact if d is not None and not np.isnan(d)]


def test_rows_without_a_distance_cost_no_comparison_of_all(beginning):
    """They do not keep the rest waiting: hardly more rows are compared exactly than without them."""
    beginning.execute("SET enable_seqscan = off; SET enable_sort = off")
    ask = "SELECT id FROM beginning ORDER BY emb <=> '[1,-0.5,0.25,1,-0.5,0.25,1,-0.5]' LIMIT 5"
    compared = "SELECT rows_reranked FROM mrl_scan_stats()"
    beginning.execute(ask)
    (among,) = beginning.execute(compared).fetchone()
    beginning.execute("DELETE FROM beginning WHERE id % 5 = 0")
    beginning.execute("VACUUM beginning")
    beginning.execute(ask)
    (alone,) = beginning.execute(compared).fetchone()
    assert among <= 2 * alone + 50, (among, alone)
