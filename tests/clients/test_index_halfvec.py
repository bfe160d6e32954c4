"""Indexes of ours on pgvector's halfvec: with a stand-in for pgvector, and with pgvector where it is installed."""

import numpy as np
import psycopg
import pytest
from rows import EXACT, both_ways, clustered, fill, literal, problems

DATABASE = "on_halfvec"
CLASSES = {"<#>": "mrl_halfvec_ip_ops", "<=>": "mrl_halfvec_cosine_ops", "<->": "mrl_halfvec_l2_ops"}


def versions(connection):
    """pgvector's own on this server, the newest last."""
    rows = connection.execute("SELECT version FROM pg_available_extension_versions WHERE name = 'vector'").fetchall()
    real = [version for (version,) in rows if version != "stand_in"]
    return sorted(real, key=lambda version: [int(part) for part in version.split(".")])


@pytest.fixture(params=["stand-in", "pgvector"])
def halfvec(request):
    """A database with pgvector or what stands for it, and 4,000 vectors, some equal, some NULL, some zeros."""
    with psycopg.connect(autocommit=True) as connection:
        version = "stand_in"
        if request.param == "pgvector":
            if not versions(connection):
                pytest.skip("pgvector is not installed on this server")
            version = versions(connection)[-1]
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(dbname=DATABASE, autocommit=True) as connection:
        connection.execute(f"CREATE EXTENSION vector VERSION '{version}'; CREATE EXTENSION pg_mrl_pgvector CASCADE")
        connection.execute("CREATE TABLE item (id int PRIMARY KEY, emb halfvec(64))")
        vectors = clustered(4000, 64, 1)
        vectors[::50] = vectors[0]
        vectors[1::400] = 0
        fill(connection, "item", id=np.arange(4000), emb=vectors)
        connection.execute("UPDATE item SET emb = NULL WHERE id % 500 = 2")
        connection.execute("VACUUM ANALYZE item")
        connection.real = version != "stand_in"
        yield connection
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def compare(found, exact):
    """The same distances. pgvector's operators sum up in another order than ours, by which the index sorts: rows that
    are equally near but for the last digits may come the other way round."""
    ((found,),), ((exact,),) = found, exact
    found, exact = np.array(found, float), np.array(exact, float)
    assert len(found) == len(exact) and np.array_equal(np.sort(found), np.sort(exact), equal_nan=True)
    np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6)


def test_built_concurrently_beside_what_is_there(halfvec):
    """The table is not written anew, the other index stays, each class answers as a sequential scan."""
    if halfvec.real:
        halfvec.execute("CREATE INDEX item_hnsw ON item USING hnsw (emb halfvec_ip_ops)")
    else:
        halfvec.execute("CREATE INDEX item_other ON item (id)")
    former = "SELECT relname, relfilenode FROM pg_class WHERE relname ~ '^item' AND relname !~ 'mrl' ORDER BY relname"
    before = halfvec.execute(former).fetchall()
    for name in CLASSES.values():
        halfvec.execute(f"CREATE INDEX CONCURRENTLY item_{name} ON item USING mrl (emb {name})")
        assert problems(halfvec, f"item_{name}") == []
    halfvec.execute(EXACT)
    if halfvec.real:
        # Of two indexes for one operator the planner takes the cheaper: here ours are looked at.
        halfvec.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'item_hnsw'::regclass")
    for operator, name in CLASSES.items():
        for query in clustered(25, 64, 2):
            ask = f"emb {operator} '{literal(query)}'"
            statement = f"SELECT array_agg(d) FROM (SELECT {ask} AS d FROM item ORDER BY {ask} LIMIT 5000) s"
            compare(*both_ways(halfvec, statement, name))
    assert halfvec.execute(former).fetchall() == before
    if halfvec.real:
        halfvec.execute("UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'item_hnsw'::regclass")


def test_it_follows_the_table(halfvec):
    """Inserts, updates that change the vector or leave it, deletions, vacuum."""
    for name in CLASSES.values():
        halfvec.execute(f"CREATE INDEX item_{name} ON item USING mrl (emb {name})")
    fill(halfvec, "item", id=np.arange(10_000, 16_000), emb=clustered(6000, 64, 3))
    halfvec.execute("UPDATE item SET emb = (SELECT emb FROM item WHERE id = 10001) WHERE id % 40 = 4")
    halfvec.execute("UPDATE item SET id = -id WHERE id % 3 = 1; DELETE FROM item WHERE id % 5 = 0")
    halfvec.execute("VACUUM item")
    halfvec.execute(EXACT)
    query = literal(clustered(1, 64, 4)[0])
    for operator, name in CLASSES.items():
        assert problems(halfvec, f"item_{name}") == []
        ask = f"emb {operator} '{query}'"
        statement = f"SELECT array_agg(d) FROM (SELECT {ask} AS d FROM item ORDER BY {ask} LIMIT 20000) s"
        compare(*both_ways(halfvec, statement, name))
