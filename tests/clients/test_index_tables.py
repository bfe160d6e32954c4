"""Tables of every kind beneath an index: larger than shared buffers, temporary, partitioned, with every storage."""

import numpy as np
import pytest
from rows import BY_INDEX, EXACT, both_ways, clustered, fill, literal, plan, problems

CLASSES = {"<#>": "mrlvec_ip_ops", "<=>": "mrlvec_cosine_ops", "<->": "mrlvec_l2_ops"}


def nearest(table, operator, query, limit):
    """The ids of the nearest rows and their distances; equal ones in the order of their ids."""
    rows = f"SELECT id, emb {operator} '{literal(query)}' AS d FROM {table} ORDER BY emb {operator} '{literal(query)}' LIMIT {limit}"
    return f"SELECT * FROM ({rows}) s ORDER BY d, id"


def test_an_index_and_a_table_larger_than_shared_buffers(cluster):
    """Rows and pages come and go: scans ask the storage ahead, and remember no places. Thirty scans at once take few buffers."""
    server = cluster("shared_buffers = '2MB'", "maintenance_work_mem = '16MB'")
    with server.connect() as connection:
        connection.execute("CREATE EXTENSION pg_mrl; CREATE TABLE t (id int PRIMARY KEY, n int, emb mrlvec(128))")
        fill(connection, "t", id=np.arange(20_000), n=np.zeros(20_000, int), emb=clustered(20_000, 128, 1))
        connection.execute("CREATE INDEX t_emb ON t USING mrl (emb)")
        assert connection.execute("SELECT pg_relation_size('t') + pg_relation_size('t_emb') > 3 * 2097152").fetchone() == (True,)
        queries = clustered(20, 128, 2)

        def check():
            connection.execute(EXACT)
            for query in queries:
                by_index, by_table = both_ways(connection, nearest("t", "<#>", query, 20), "t_emb")
                assert by_index == by_table
            connection.execute("RESET mrl.probes; RESET mrl.epsilon")
            hits = 0
            for query in queries:
                by_index, by_table = both_ways(connection, nearest("t", "<#>", query, 10), "t_emb")
                hits += len(set(by_index) & set(by_table))
            assert hits >= 190

        check()
        connection.execute(BY_INDEX)
        with connection.transaction():
            for i, query in enumerate(np.tile(queries, (2, 1))[:30]):
                connection.execute(f"DECLARE c{i} CURSOR FOR SELECT id FROM t ORDER BY emb <#> '{literal(query)}'")
            for _ in range(5):
                for i in range(30):
                    assert len(connection.execute(f"FETCH 40 FROM c{i}").fetchall()) == 40
        connection.execute("UPDATE t SET n = n + 1 WHERE id % 2 = 0")
        connection.execute("DELETE FROM t WHERE id % 5 = 0")
        connection.execute("VACUUM t")
        fill(connection, "t", id=np.arange(20_000, 24_000), n=np.zeros(4000, int), emb=clustered(4000, 128, 3))
        assert problems(connection, "t_emb") == []
        check()


@pytest.mark.parametrize("operator", CLASSES)
def test_a_temporary_table(connection, operator):
    """Its pages lie in buffers of the session's own."""
    connection.execute(f"""
        CREATE TEMPORARY TABLE own (id int, n int, emb mrlvec(16));
        CREATE INDEX own_n ON own (n);
        CREATE INDEX own_emb ON own USING mrl (emb {CLASSES[operator]})
    """)
    fill(connection, "own", id=np.arange(6000), n=np.zeros(6000, int), emb=clustered(6000, 16, 1))
    connection.execute(EXACT)

    def check():
        for query in clustered(5, 16, 2):
            by_index, by_table = both_ways(connection, nearest("own", operator, query, 300), "own_emb")
            assert by_index == by_table
        assert problems(connection, "own_emb") == []

    check()
    connection.execute("UPDATE own SET n = n + 1 WHERE id % 3 = 0; DELETE FROM own WHERE id % 4 = 0")
    check()
    connection.execute("VACUUM own")
    check()
    fill(connection, "own", id=np.arange(6000, 9000), n=np.zeros(3000, int), emb=clustered(3000, 16, 3))
    check()
    connection.execute("CREATE TEMPORARY TABLE gone (id int, emb mrlvec(16)) ON COMMIT DELETE ROWS")
    connection.execute(f"CREATE INDEX gone_emb ON gone USING mrl (emb {CLASSES[operator]})")
    connection.execute(BY_INDEX)
    query = nearest("gone", operator, clustered(1, 16, 4)[0], 5)
    assert "gone_emb" in plan(connection, query)
    for _ in range(2):
        with connection.transaction():
            fill(connection, "gone", id=np.arange(3000), emb=clustered(3000, 16, 5))
            assert len(connection.execute(query).fetchall()) == 5
        assert connection.execute(query).fetchall() == []


@pytest.mark.parametrize("operator", CLASSES)
def test_a_partitioned_table(connection, operator):
    """The partitions' rows are merged by their distances; rows move between them, partitions come and go."""
    connection.execute(f"""
        CREATE TABLE parted (id int, emb mrlvec(16)) PARTITION BY RANGE (id);
        CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (2000);
        CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (2000) TO (5000);
        CREATE INDEX parted_emb ON parted USING mrl (emb {CLASSES[operator]});
        CREATE TABLE parted_3 (LIKE parted)
    """)
    fill(connection, "parted", id=np.arange(4000), emb=clustered(4000, 16, 1))
    fill(connection, "parted_3", id=np.arange(5000, 6000), emb=clustered(1000, 16, 2))
    connection.execute(EXACT)

    def check(parts):
        for query in clustered(5, 16, 3):
            by_index, by_table = both_ways(connection, nearest("parted", operator, query, 300), "parted_1_emb_idx")
            assert by_index == by_table
        for part in parts:
            assert problems(connection, f"parted_{part}_emb_idx") == []

    check([1, 2])
    connection.execute("UPDATE parted SET id = id + 2500 WHERE id % 10 = 0 AND id < 2000")
    check([1, 2])
    connection.execute("ALTER TABLE parted ATTACH PARTITION parted_3 FOR VALUES FROM (5000) TO (9000)")
    check([1, 2, 3])
    connection.execute("ALTER TABLE parted DETACH PARTITION parted_2")
    check([1, 2, 3])
    connection.execute("DROP TABLE parted, parted_2")


@pytest.mark.parametrize("storage", ["plain", "main", "external", "extended"])
@pytest.mark.parametrize("rerank", ["auto", "heap", "index"])
@pytest.mark.parametrize("dimensions", [256, 257, 1100])
def test_every_storage(connection, storage, rerank, dimensions):
    """Vectors in their rows, compressed, and beside the table, behind a column that is gone; what is kept of them is decided on an
    empty table as on a full one."""
    connection.execute(f"""
        CREATE TABLE stored (gone int, id int, emb mrlvec({dimensions}));
        ALTER TABLE stored DROP gone;
        ALTER TABLE stored ALTER emb SET STORAGE {storage};
        CREATE INDEX stored_emb ON stored USING mrl (emb) WITH (rerank = {rerank})
    """)
    is_beside = storage in ("external", "extended") and dimensions > 256
    expected = rerank == "index" or rerank == "auto" and is_beside
    keeps = "SELECT keeps_vectors FROM mrl_index_info('stored_emb')"
    assert connection.execute(keeps).fetchone() == (expected,)
    # Such as a server compresses.
    vectors = clustered(600, dimensions, 1)
    vectors[:, 32:] = 0
    vectors[300:] = clustered(300, dimensions, 2)
    fill(connection, "stored", id=np.arange(600), emb=vectors)
    connection.execute(EXACT)
    for is_fresh in [False, True]:
        for query in [vectors[7], vectors[400]]:
            by_index, by_table = both_ways(connection, nearest("stored", "<#>", query, 200), "stored_emb")
            assert by_index == by_table
        assert problems(connection, "stored_emb") == []
        if not is_fresh:
            connection.execute("REINDEX INDEX stored_emb")
            assert connection.execute(keeps).fetchone() == (expected,)
    connection.execute("DROP TABLE stored")


def test_a_column_that_rows_lack(connection):
    """Rows older than a column have its default."""
    connection.execute("CREATE TABLE older (id int); INSERT INTO older SELECT generate_series(1, 500)")
    connection.execute("ALTER TABLE older ADD emb mrlvec(3) DEFAULT '[1,2,3]'")
    connection.execute("INSERT INTO older SELECT i, ARRAY[i, 1, 1]::mrlvec(3) FROM generate_series(501, 600) i")
    connection.execute("CREATE INDEX older_emb ON older USING mrl (emb)")
    connection.execute(EXACT)
    by_index, by_table = both_ways(connection, nearest("older", "<#>", [1, 2, 3], 600), "older_emb")
    assert by_index == by_table and len(by_index) == 600
    assert problems(connection, "older_emb") == []
    connection.execute("DROP TABLE older")


def test_rewritten_tables(connection):
    """VACUUM FULL, CLUSTER by another index and a type of fewer dimensions build each index anew."""
    connection.execute("CREATE TABLE moved (id int PRIMARY KEY, emb mrlvec(24))")
    fill(connection, "moved", id=np.arange(3000)[::-1], emb=clustered(3000, 24, 1))
    connection.execute("CREATE INDEX moved_emb ON moved USING mrl (emb)")
    connection.execute("CREATE INDEX moved_kept ON moved USING mrl (emb mrlvec_l2_ops) WITH (rerank = index)")
    connection.execute("CREATE INDEX moved_part ON moved USING mrl (emb mrlvec_cosine_ops) WHERE id % 2 = 0")
    connection.execute("DELETE FROM moved WHERE id % 3 = 0")
    connection.execute(EXACT)
    rewrites = [
        "VACUUM FULL moved",
        "CLUSTER moved USING moved_pkey",
        "ALTER TABLE moved ALTER id TYPE bigint",
        "ALTER TABLE moved ALTER emb TYPE mrlvec(12) USING subvector(emb, 1, 12)",
    ]
    for rewrite in rewrites:
        files = "SELECT pg_relation_filenode(i) FROM unnest('{moved_emb,moved_kept,moved_part}'::regclass[]) i"
        before = connection.execute(files).fetchall()
        connection.execute(rewrite)
        assert not set(before) & set(connection.execute(files).fetchall()), rewrite
        for index, operator in [("moved_emb", "<#>"), ("moved_kept", "<->")]:
            assert problems(connection, index) == [], rewrite
            query = clustered(1, 12, 2)[0] if "mrlvec(12)" in rewrite else clustered(1, 24, 2)[0]
            by_index, by_table = both_ways(connection, nearest("moved", operator, query, 100), index)
            assert by_index == by_table, rewrite
        assert problems(connection, "moved_part") == [], rewrite
    assert connection.execute("SELECT dimensions FROM mrl_index_info('moved_part')").fetchone() == (12,)
    connection.execute("DROP TABLE moved")
