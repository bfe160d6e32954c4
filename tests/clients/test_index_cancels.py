"""Cancels of whatever works on an index: they take effect soon, wherever they arrive, and leave it sound."""

import threading
import time
from dataclasses import dataclass

import numpy as np
import psycopg
import pytest
from rows import clustered, fill, problems

ROWS, DIMENSIONS = 20_000, 64
# Seconds from a cancel to the statement's error.
SOON = 0.25
DEADLINE = 120


@dataclass
class Statement:
    text: str
    # Makes work for it.
    before: str = "SELECT"
    # Undoes what it did where it came to its end.
    after: str = "SELECT"


STATEMENTS = {
    "build": Statement("CREATE INDEX other ON t USING mrl (emb)", after="DROP INDEX other"),
    "build that keeps vectors": Statement(
        "CREATE INDEX other ON t USING mrl (emb mrlvec_cosine_ops) WITH (rerank = index)", after="DROP INDEX other"
    ),
    # All rows in one list, most of which wait in a temporary file.
    "build of one list in little memory": Statement(
        "CREATE INDEX other ON t USING mrl (emb) WITH (lists = 1, rerank = index)",
        before="SET maintenance_work_mem = '1MB'",
        after="DROP INDEX other",
    ),
    "rebuild": Statement("REINDEX INDEX t_emb"),
    "inserts": Statement("INSERT INTO t SELECT id + 100000, n, emb FROM t", after="DELETE FROM t WHERE id >= 100000"),
    "updates": Statement("UPDATE t SET n = n + 1"),
    "scans": Statement(
        "SELECT sum(d) FROM generate_series(1, 50) i CROSS JOIN LATERAL (SELECT emb AS query FROM t WHERE id = i) asked "
        "CROSS JOIN LATERAL (SELECT emb <#> query AS d FROM t ORDER BY emb <#> query LIMIT 100000) near"
    ),
    # Slowed down, as autovacuum is.
    "vacuum": Statement(
        "VACUUM (INDEX_CLEANUP on, PARALLEL 0) t",
        before="SET vacuum_cost_delay = '1ms'; SET vacuum_cost_limit = 50; UPDATE t SET emb = emb * (SELECT array_agg(-1)::mrlvec FROM generate_series(1, 64)) WHERE id % 2 = 0",
    ),
    "check": Statement("SELECT * FROM generate_series(1, 50) i, LATERAL mrl_index_check('t_emb', i > 0)"),
}


@pytest.fixture
def table(cluster):
    connection = cluster("autovacuum = off").connect()
    connection.execute(f"CREATE EXTENSION pg_mrl; CREATE TABLE t (id int PRIMARY KEY, n int, emb mrlvec({DIMENSIONS}))")
    fill(connection, "t", id=np.arange(ROWS), n=np.zeros(ROWS, int), emb=clustered(ROWS, DIMENSIONS, 1))
    connection.execute("CREATE INDEX t_n ON t (n); CREATE INDEX t_emb ON t USING mrl (emb)")
    connection.execute("VACUUM ANALYZE t")
    connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
    yield connection
    connection.close()


def cancelled(connection, text, wait):
    """Runs a statement that a thread cancels once `wait` says so, which is told when the statement has ended; the seconds
    from the cancel to the statement's error, None where it came to its end."""
    ended = threading.Event()
    cancelled_at = []

    def cancel():
        if wait(ended):
            cancelled_at.append(time.monotonic())
            connection.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        connection.execute(text)
    except psycopg.errors.QueryCanceled:
        return time.monotonic() - cancelled_at[0]
    finally:
        ended.set()
        thread.join()
    return None


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_cancel_takes_effect_soon(table, name):
    """At ten moments of the time that the statement takes."""
    statement = STATEMENTS[name]
    table.execute(statement.before)
    begin = time.monotonic()
    table.execute(statement.text)
    lasts = time.monotonic() - begin
    table.execute(statement.after)
    met = 0
    for moment in range(10):
        table.execute(statement.before)
        seconds = cancelled(table, statement.text, lambda ended, part=moment / 10: not ended.wait(lasts * part))
        if seconds is None:
            table.execute(statement.after)
        else:
            met += 1
            assert seconds <= SOON, f"moment {moment} of {lasts:.2f} s"
    # A statement may have ended sooner than the first time.
    assert met >= 4, f"{met} of 10 met it in {lasts:.2f} s"
    assert problems(table, "t_emb") == []


def test_the_progress_of_a_build(table):
    """Another session sees each phase of builds, and how many of the table's blocks are read."""
    seen, over = set(), threading.Event()
    wanted = {f"building index: {phase}" for phase in ["sampling table", "performing k-means", "loading tuples", "writing lists"]}
    phases = lambda: {phase for phase, _, _ in list(seen)}  # noqa: E731
    deadline = time.monotonic() + DEADLINE

    def watch():
        with psycopg.connect(table.info.dsn, autocommit=True) as watcher:
            while not over.is_set():
                seen.update(watcher.execute("SELECT phase, blocks_done, blocks_total FROM pg_stat_progress_create_index").fetchall())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        while not wanted <= phases():
            assert time.monotonic() < deadline, phases()
            table.execute("REINDEX INDEX t_emb")
    finally:
        over.set()
        watcher.join()
    (blocks,) = table.execute("SELECT relpages FROM pg_class WHERE relname = 't'").fetchone()
    loading = {(done, total) for phase, done, total in seen if phase == "building index: loading tuples"}
    assert any(total == blocks and 0 < done <= total for done, total in loading), loading


SPLITTING = """
    SELECT FROM pg_locks WHERE pid = %s AND classid = 'wide_emb'::regclass AND locktype = 'object'
    AND mode = 'ShareUpdateExclusiveLock' AND granted
"""


def test_a_cancel_in_the_midst_of_a_split(cluster):
    """The session is seen to hold the lock of who splits. What is given up so is done by who comes next."""
    server = cluster("autovacuum = off")
    deadline = time.monotonic() + DEADLINE
    with server.connect() as connection, server.connect() as watcher:
        connection.execute("CREATE EXTENSION pg_mrl; CREATE TABLE wide (id int, emb mrlvec(384)); CREATE TABLE more (LIKE wide)")
        connection.execute("CREATE INDEX wide_emb ON wide USING mrl (emb)")
        fill(connection, "more", id=np.arange(3000), emb=clustered(3000, 384, 1))
        pid = connection.info.backend_pid

        def splits(ended):
            while not ended.is_set():
                if watcher.execute(SPLITTING, (pid,)).fetchall():
                    return True
            return False

        met = 0
        while met < 5:
            assert time.monotonic() < deadline, f"only {met} splits were cancelled"
            seconds = cancelled(connection, "INSERT INTO wide SELECT * FROM more", splits)
            if seconds is not None:
                met += 1
                assert seconds <= SOON
        connection.execute("INSERT INTO wide SELECT * FROM more")
        assert problems(connection, "wide_emb") == []
        assert connection.execute("SELECT lists > 1 FROM mrl_index_info('wide_emb')").fetchone() == (True,)
