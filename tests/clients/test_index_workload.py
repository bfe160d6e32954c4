"""The index under autovacuum, under inserts beside splits, and on a standby that answers while it replays."""

import shutil
import threading
import time
from collections import Counter

import numpy as np
import psycopg
import pytest
from clusters import ROOT
from rows import BY_INDEX, EXACT, both_ways, clustered, fill, literal, plan, problems

DEADLINE = 120
TABLE = """
    CREATE EXTENSION pg_mrl;
    CREATE TABLE t (id int PRIMARY KEY, n int, emb mrlvec(32));
    CREATE INDEX t_n ON t (n);
    CREATE INDEX t_emb ON t USING mrl (emb);
"""


def run_all(over, *workers):
    """Each worker in a thread, till all have ended. The first error of one makes the others end, and is raised."""
    errors = []

    def guarded(worker):
        try:
            worker()
        except BaseException as error:
            errors.append(error)
            over.set()

    threads = [threading.Thread(target=guarded, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def churn(connection, seed, first, rows, is_over):
    """Rows of one's own come, change their vector or something else, and go."""
    generator = np.random.default_rng(seed)
    pool = clustered(rows, 32, seed)
    fill(connection, "t", id=np.arange(first, first + rows), n=np.zeros(rows, int), emb=pool)
    while not is_over():
        part = generator.integers(10)
        mine = f"id >= {first} AND id < {first + rows} AND id % 10 = {part}"
        connection.execute(f"UPDATE t SET n = n + 1 WHERE {mine}")
        connection.execute(f"UPDATE t SET emb = (SELECT emb FROM t WHERE id = 0) WHERE {mine} AND id % 3 = 0")
        ids = np.array([i for i in range(first, first + rows) if i % 10 == part])
        with connection.transaction():
            connection.execute(f"DELETE FROM t WHERE {mine}")
            fill(connection, "t", id=ids, n=np.zeros(len(ids), int), emb=pool[ids - first])


def queries_of(seed):
    """Without end."""
    while True:
        yield from clustered(1000, 32, seed)
        seed += 1000


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
    SELECT inserts.pid, inserts.page FROM pg_locks inserts JOIN pg_locks splits USING (relation, page)
    WHERE inserts.relation = 'wide_emb'::regclass AND inserts.locktype = 'page' AND splits.locktype = 'page'
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
        position = connection.execute("SELECT pg_current_wal_lsn()").fetchone()[0]
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
        position = connection.execute("SELECT pg_current_wal_lsn()").fetchone()[0]
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
