"""The index under autovacuum, and under inserts beside splits."""

import threading
import time
from collections import Counter

import numpy as np
from rows import EXACT, both_ways, clustered, fill, literal, problems
from workload import DEADLINE, TABLE, churn, queries_of, run_all


def test_autovacuum_comes_between_scans_and_inserts(cluster):
    """It runs several times over the index; every answer meanwhile is that of its snapshot."""
    server = cluster(
        "autovacuum = on", "autovacuum_naptime = 1s", "autovacuum_vacuum_threshold = 50",
        "autovacuum_vacuum_scale_factor = 0", "autovacuum_vacuum_insert_threshold = 500",
        "autovacuum_vacuum_insert_scale_factor = 0", "autovacuum_vacuum_cost_delay = 0", "log_autovacuum_min_duration = 0",
    )
    with server.connect() as connection:
        connection.execute(TABLE)
        # Without this vacuum may find that so few rows are not worth a pass over the indexes.
        connection.execute("ALTER TABLE t SET (vacuum_index_cleanup = on)")
        fill(connection, "t", id=np.arange(3000), n=np.arange(3000), emb=clustered(3000, 32, 1))
    over = threading.Event()
    compared = Counter()
    deadline = time.monotonic() + DEADLINE

    def write(worker):
        with server.connect() as connection:
            churn(connection, worker, 10_000 * worker, 3000, over.is_set)

    def read():
        with server.connect() as connection:
            connection.execute(EXACT)
            for query in queries_of(100):
                if over.is_set():
                    break
                ask = f"emb <#> '{literal(query)}'"
                # In an order of our own: from release 16 on the rows come sorted by what is counted.
                statement = f"SELECT count(DISTINCT id), array_agg(d ORDER BY d) FROM (SELECT id, {ask} AS d FROM t ORDER BY {ask} LIMIT 20) s"
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                by_index, by_table = both_ways(connection, statement, "t_emb")
                connection.execute("COMMIT")
                assert by_index == by_table
                compared["answers"] += 1

    def wait():
        passes = "SELECT autovacuum_count FROM pg_stat_all_tables WHERE relname = 't'"
        with server.connect() as connection:
            while connection.execute(passes).fetchone()[0] < 4 or compared["answers"] < 50:
                if over.is_set():
                    return
                assert time.monotonic() < deadline, "autovacuum has not come"
                time.sleep(0.05)
        over.set()

    run_all(over, lambda: write(1), lambda: write(2), read, wait)
    log = server.log.read_text()
    passed = [entry for entry in log.split("automatic vacuum of table")[1:] if 'index "t_emb": pages' in entry]
    assert len(passed) >= 2, log[-3000:]
    with server.connect() as connection:
        assert problems(connection, "t_emb") == []
        assert connection.execute("SELECT lists > 3 FROM mrl_index_info('t_emb')").fetchone() == (True,)


BESIDE_A_SPLIT = """
    SELECT inserts.pid, inserts.objid FROM pg_locks inserts JOIN pg_locks splits USING (locktype, classid, objid)
    WHERE classid = 'wide_emb'::regclass AND locktype = 'object'
      AND inserts.granted AND inserts.mode = 'RowExclusiveLock'
      AND splits.granted AND splits.mode = 'ShareUpdateExclusiveLock' AND inserts.pid <> splits.pid
"""


def test_inserts_go_on_while_a_split_works(cluster):
    """Several are seen inserting into a list that another session splits; none of their rows is lost."""
    server = cluster()
    vectors = clustered(2000, 384, 1)
    with server.connect() as connection:
        connection.execute("CREATE EXTENSION pg_mrl; CREATE TABLE wide (id int, emb mrlvec(384))")
        connection.execute("CREATE INDEX wide_emb ON wide USING mrl (emb)")
    over = threading.Event()
    deadline = time.monotonic() + DEADLINE
    written = Counter()
    seen = set()

    def write(worker):
        with server.connect() as connection:
            while not over.is_set():
                first = worker * 1_000_000 + written[worker]
                fill(connection, "wide", id=np.arange(first, first + 100), emb=vectors[written[worker] % 2000 :][:100])
                written[worker] += 100

    def watch():
        with server.connect() as connection:
            while len(seen) < 4 and not over.is_set():
                assert time.monotonic() < deadline, f"after {written} rows only {seen} came into lists being split"
                seen.update(connection.execute(BESIDE_A_SPLIT).fetchall())
        over.set()

    run_all(over, lambda: write(1), lambda: write(2), lambda: write(3), watch)
    with server.connect() as connection:
        assert problems(connection, "wide_emb") == []
        connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        every = "SELECT id FROM wide ORDER BY emb <#> '[1]' LIMIT 10000000"
        found = connection.execute(
            f"SELECT id / 1000000, count(*), count(DISTINCT id) FROM ({every}) s GROUP BY 1"
        ).fetchall()
        rows = {worker: (count, distinct) for worker, count, distinct in found}
        assert rows == {worker: (count, count) for worker, count in written.items()}
