"""The index on a standby: the same pages, and answers while it replays."""

import shutil
import threading
import time
from collections import Counter

import numpy as np
import psycopg
import pytest
from clusters import ROOT
from rows import BY_INDEX, EXACT, both_ways, clustered, fill, literal, plan, problems
from workload import DEADLINE, TABLE, churn, queries_of, run_all


def test_a_standby_has_the_same_pages_and_answers(cluster, standby):
    """All changes of the primary are replayed with their consistency checked: a page that differs ends the standby."""
    primary = cluster("wal_consistency_checking = 'all'", "max_wal_senders = 4")
    with primary.connect() as connection:
        connection.execute(TABLE)
        fill(connection, "t", id=np.arange(3000), n=np.arange(3000), emb=clustered(3000, 32, 1))
        copy = standby(primary)
        copy.start()
        fill(connection, "t", id=np.arange(10_000, 25_000), n=np.zeros(15_000, int), emb=clustered(15_000, 32, 7))
        connection.execute("UPDATE t SET n = n + 1 WHERE id % 2 = 0; DELETE FROM t WHERE id % 5 = 0")
        connection.execute("VACUUM t")
        fill(connection, "t", id=np.arange(50_000, 60_000), n=np.zeros(10_000, int), emb=clustered(10_000, 32, 8))
        connection.execute("INSERT INTO t VALUES (99, 1, NULL) ON CONFLICT (id) DO UPDATE SET emb = NULL")
        connection.execute("CREATE INDEX t_copies ON t USING mrl (emb mrlvec_cosine_ops) WITH (rerank = index)")
        connection.execute("DELETE FROM t WHERE id % 7 = 0")
        connection.execute("VACUUM t")
        fill(connection, "t", id=np.arange(70_000, 75_000), n=np.zeros(5000, int), emb=clustered(5000, 32, 9))
        copy.wait_for(connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0])
        with copy.connect() as reader:
            for session in [connection, reader]:
                session.execute(BY_INDEX)
            for operator in ["<#>", "<=>"]:
                ask = f"SELECT array_agg(id) FROM (SELECT id FROM t ORDER BY emb {operator} %s::text::mrlvec LIMIT 20) s"
                for query in clustered(50, 32, 9):
                    asked = (literal(query),)
                    assert connection.execute(ask, asked).fetchone() == reader.execute(ask, asked).fetchone()
            for index in ["t_emb", "t_copies"]:
                assert problems(reader, index) == []
    assert "inconsistent page" not in copy.log.read_text()


def test_a_standby_that_is_promoted(cluster, standby):
    """The primary is killed amid splits: the indexes go on on the standby; one without a log is empty there, and usable."""
    primary = cluster("max_wal_senders = 4")
    connection = primary.connect()
    connection.execute(TABLE)
    connection.execute("CREATE UNLOGGED TABLE u (id int, emb mrlvec(32)); CREATE INDEX u_emb ON u USING mrl (emb)")
    fill(connection, "t", id=np.arange(3000), n=np.arange(3000), emb=clustered(3000, 32, 1))
    fill(connection, "u", id=np.arange(500), emb=clustered(500, 32, 1))
    copy = standby(primary)
    copy.start()
    for first in range(10_000, 24_000, 2000):
        fill(connection, "t", id=np.arange(first, first + 2000), n=np.zeros(2000, int), emb=clustered(2000, 32, first))
    connection.execute("DELETE FROM t WHERE id % 5 = 0; UPDATE t SET n = n + 1 WHERE id % 3 = 0")
    copy.wait_for(connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0])
    # A change that is not committed when the primary ends.
    connection.execute("BEGIN")
    fill(connection, "t", id=np.arange(50_000, 58_000), n=np.zeros(8000, int), emb=clustered(8000, 32, 2))
    primary.kill()
    connection.close()
    copy.promote()
    with copy.connect() as connection:
        fill(connection, "t", id=np.arange(70_000, 80_000), n=np.zeros(10_000, int), emb=clustered(10_000, 32, 3))
        connection.execute("UPDATE t SET n = n + 1 WHERE id % 2 = 0; DELETE FROM t WHERE id % 7 = 0")
        connection.execute("VACUUM t")
        assert connection.execute("SELECT count(*) FROM u").fetchone() == (0,)
        fill(connection, "u", id=np.arange(900), emb=clustered(900, 32, 4))
        connection.execute(EXACT)
        for table in ["t", "u"]:
            assert problems(connection, f"{table}_emb") == []
            for query in clustered(5, 32, 5):
                ask = f"SELECT emb <#> '{literal(query)}' FROM {table} ORDER BY emb <#> '{literal(query)}' LIMIT 200"
                by_index, by_table = both_ways(connection, ask, f"{table}_emb")
                assert by_index == by_table
    primary.control("start")


def ask_standby(connection, query, exact, counts):
    """One query, compared with what the same snapshot shows without the index."""
    vector = literal(query)
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    if exact:
        connection.execute("SET LOCAL mrl.probes = 'all'; SET LOCAL mrl.epsilon = 'exact'")
    statement = f"SELECT id, emb <#> '{vector}' AS d FROM t ORDER BY emb <#> '{vector}' LIMIT 20"
    found = connection.execute(statement).fetchall()
    ids = [number for number, _ in found]
    distances = [distance for _, distance in found]
    # By the defaults a round that found few rows that are seen is followed by another, whose rows may be nearer.
    assert len(set(ids)) == 20 and (not exact or distances == sorted(distances)), found
    # The distances once more, of the rows as they are found by their keys.
    connection.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on")
    by_key = dict(connection.execute(f"SELECT id, emb <#> '{vector}' FROM t WHERE id = ANY(%s)", (ids,)).fetchall())
    assert [by_key.get(number) for number in ids] == distances, found
    if exact:
        assert [distance for _, distance in connection.execute(statement).fetchall()] == distances
        counts["exact"] += 1
    connection.execute("COMMIT")
    counts["queries"] += 1


def test_a_standby_answers_rightly_while_it_replays(cluster, standby):
    """5,000 queries during inserts, updates, deletions, splits and vacuum on the primary."""
    primary = cluster("max_wal_senders = 4", "max_standby_streaming_delay = 1s")
    with primary.connect() as connection:
        connection.execute(TABLE)
        fill(connection, "t", id=np.arange(3000), n=np.arange(3000), emb=clustered(3000, 32, 1))
        connection.execute("VACUUM ANALYZE t")
    copy = standby(primary)
    copy.start()
    over = threading.Event()
    counts = Counter()
    errors = Counter()
    deadline = time.monotonic() + DEADLINE

    def write():
        with primary.connect() as connection:
            while not over.is_set():
                turns = iter([False] * 3)
                churn(connection, 2, 10_000, 6000, lambda: next(turns, True))
                connection.execute("DELETE FROM t WHERE id >= 10000")
                connection.execute("VACUUM t")
                counts["vacuums"] += 1

    def session():
        connection = copy.connect()
        connection.execute(BY_INDEX)
        assert "t_emb" in plan(connection, "SELECT id FROM t ORDER BY emb <#> '[1]' LIMIT 20")
        return connection

    def read(worker):
        connection = session()
        done = 0
        for query in queries_of(100 * worker):
            if done == 2500 or over.is_set():
                break
            assert time.monotonic() < deadline, f"only {counts}, {errors}"
            try:
                ask_standby(connection, query, exact=done % 8 == 0, counts=counts)
                done += 1
            except psycopg.Error as error:
                errors[error.sqlstate, str(error).splitlines()[0]] += 1
                # A session that is idle in its transaction is ended by a conflict.
                connection.close()
                connection = session()
        connection.close()

    def finish():
        run_all(over, lambda: read(1), lambda: read(2))
        over.set()

    run_all(over, write, finish)
    # A conflict with recovery, or a page that was given to another list, which is one too: it can be repeated.
    assert {state for state, _ in errors} <= {"40001"}, errors
    assert counts["queries"] >= 5000 and counts["exact"] >= 600 and counts["vacuums"] >= 2
    print(f"{counts['queries']} queries on the standby, {sum(errors.values())} to be repeated: {dict(errors)}")
    assert sum(errors.values()) <= 250, errors
    with primary.connect() as connection:
        position = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
    copy.wait_for(position)
    with copy.connect() as connection:
        assert problems(connection, "t_emb") == []


def without_library(folder):
    """The server's programs and files once more, less the extension's library."""
    tree = folder / "server"
    shutil.copytree(ROOT / "build" / "server", tree, symlinks=True)
    for library in tree.rglob("pg_mrl*.so"):
        library.unlink()
    return tree / "bin"


def test_a_standby_without_the_library_replays_everything(cluster, standby):
    """Records are the server's own: a server that lacks the library ends with the same pages, byte for byte."""
    primary = cluster("max_wal_senders = 4")
    with primary.connect() as connection:
        connection.execute(TABLE)
        fill(connection, "t", id=np.arange(3000), n=np.arange(3000), emb=clustered(3000, 32, 1))
        copy = standby(primary)
        bare = without_library(copy.data.parent)
        copy.start(bare)
        with copy.connect() as reader, pytest.raises(psycopg.errors.UndefinedFile):
            reader.execute("SELECT id FROM t ORDER BY emb <#> '[1]' LIMIT 1")
        turns = iter([False] * 4)
        churn(connection, 2, 10_000, 8000, lambda: next(turns, True))
        connection.execute("DELETE FROM t WHERE id % 3 = 0")
        connection.execute("VACUUM t")
        connection.execute("CREATE INDEX t_cosine ON t USING mrl (emb mrlvec_cosine_ops)")
        fill(connection, "t", id=np.arange(30_000, 38_000), n=np.zeros(8000, int), emb=clustered(8000, 32, 3))
        connection.execute("UPDATE t SET n = n + 1 WHERE id % 5 = 0; DELETE FROM t WHERE id % 7 = 0")
        connection.execute("VACUUM t")
        connection.execute("REINDEX INDEX t_emb")
        fill(connection, "t", id=np.arange(50_000, 56_000), n=np.zeros(6000, int), emb=clustered(6000, 32, 4))
        ask = "SELECT array_agg(id) FROM (SELECT id FROM t ORDER BY emb <#> %s::text::mrlvec LIMIT 20) s"
        connection.execute(BY_INDEX)
        queries = [literal(query) for query in clustered(30, 32, 5)]
        expected = [connection.execute(ask, (query,)).fetchone() for query in queries]
        files = [
            connection.execute(f"SELECT pg_relation_filepath('{index}')").fetchone()[0] for index in ["t_emb", "t_cosine"]
        ]
        position = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
    copy.wait_for(position)
    with copy.connect() as reader, pytest.raises(psycopg.errors.UndefinedFile):
        reader.execute("SELECT * FROM mrl_index_check('t_emb')")
    # A server that is stopped has written all its pages.
    primary.control("stop", "-m", "fast")
    copy.stop()
    shutil.rmtree(bare.parent)
    for file in files:
        # Pages that were added and never used are not in the log, and the last of them not on the standby.
        here, there = ((server.data / file).read_bytes().rstrip(b"\0") for server in [primary, copy])
        different = [i for i in range(-(-max(len(here), len(there)) // 8192)) if here[i * 8192 :][:8192] != there[i * 8192 :][:8192]]
        assert different == [], file
    copy.start()
    with copy.connect() as reader:
        reader.execute(BY_INDEX)
        assert [reader.execute(ask, (query,)).fetchone() for query in queries] == expected
        for index in ["t_emb", "t_cosine"]:
            assert problems(reader, index) == []
