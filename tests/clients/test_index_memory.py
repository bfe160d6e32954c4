"""Sessions that get no memory: an error of the statement, nothing left behind, and no other session ends."""

import shutil
import subprocess
import threading

import numpy as np
import psycopg
import pytest
from clusters import as_server_user
from rows import clustered, fill, problems

MEGABYTE = 1024 * 1024


def bytes_of(pid, field):
    """A process's size by a field of its status."""
    with open(f"/proc/{pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields[field].split()[0]) * 1024


STATEMENTS = {
    "build": "CREATE INDEX t_other ON t USING mrl (emb) WITH (lists = 200)",
    "inserts with splits": "INSERT INTO t SELECT id + 1000000, emb FROM t",
    "scan": "SELECT count(*) FROM (SELECT id FROM t ORDER BY emb <#> '[1,1]' LIMIT 1000000) s",
    "check": "SELECT count(*) FROM mrl_index_check('t_emb', true)",
    "vacuum": "VACUUM (INDEX_CLEANUP on, PARALLEL 0) t",
}


@pytest.mark.skipif(not shutil.which("prlimit"), reason="there is no prlimit (util-linux) to limit a session's memory with")
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_session_that_gets_no_memory(cluster, name):
    """From hardly any to enough: an error of the statement, never the end of the server's other sessions."""
    server = cluster("maintenance_work_mem = '128MB'", "max_parallel_maintenance_workers = 2", "jit = off", "synchronous_commit = on")
    with server.connect() as connection:
        connection.execute("CREATE EXTENSION pg_mrl; CREATE TABLE t (id int PRIMARY KEY, emb mrlvec(64))")
        fill(connection, "t", id=np.arange(30_000), emb=clustered(30_000, 64, 1))
        connection.execute("CREATE INDEX t_emb ON t USING mrl (emb)")
        outcomes = {}
        for megabytes in [0.5, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 1000]:
            connection.execute("UPDATE t SET emb = emb WHERE id % 10 = 0")
            with server.connect() as session:
                session.execute("SET enable_seqscan = off; SET enable_sort = off")
                # What a session needs for the first time, its caches, is there already.
                session.execute("SELECT id FROM t ORDER BY emb <#> '[1,1]' LIMIT 1")
                pid = session.info.backend_pid
                limit = int(bytes_of(pid, "VmSize") + megabytes * MEGABYTE)
                subprocess.run(as_server_user("prlimit", "--pid", str(pid), f"--as={limit}"), check=True)
                try:
                    session.execute(STATEMENTS[name])
                    outcomes[megabytes] = "done"
                except psycopg.errors.OutOfMemory:
                    outcomes[megabytes] = "out of memory"
                    assert session.execute("SELECT 1").fetchone() == (1,)
            # Had the server ended one session by a signal, this one would be gone too.
            assert connection.execute("SELECT 1").fetchone() == (1,), outcomes
            connection.execute("DROP INDEX IF EXISTS t_other; DELETE FROM t WHERE id >= 1000000")
            connection.execute("CHECKPOINT")
        # A check keeps a bit a row; from release 17 on vacuum's own list of dead rows finds room in what a session has.
        needs_little = name == "check" or name == "vacuum" and connection.info.server_version >= 170000
        assert (needs_little or outcomes[0.5] == "out of memory") and outcomes[1000] == "done", outcomes
        assert problems(connection, "t_emb") == []
        # Nothing of the builds that failed.
        ours = "SELECT pg_relation_filenode(oid)::text FROM pg_class WHERE pg_relation_filenode(oid) IS NOT NULL"
        known = {node for (node,) in connection.execute(ours).fetchall()}
        (database,) = connection.execute("SELECT oid FROM pg_database WHERE datname = 'postgres'").fetchone()
        folder = server.data / "base" / str(database)
        left = {path.name.split("_")[0].split(".")[0] for path in folder.iterdir() if path.name[0].isdigit()}
        assert left <= known


def test_a_build_keeps_to_maintenance_work_mem(connection, new_connection):
    """At any moment, of a table whose codes and vectors are several times as large."""
    rows, dimensions = 100_000, 384
    connection.execute(f"CREATE TABLE kept (id int, emb mrlvec({dimensions}))")
    fill(connection, "kept", id=np.arange(rows), emb=np.tile(clustered(10_000, dimensions, 1), (10, 1)))
    peaks = {}
    for megabytes in [24, 400]:
        with new_connection() as session:
            session.execute(f"SET maintenance_work_mem = '{megabytes}MB'; SELECT '[1]'::mrlvec")
            pid = session.info.backend_pid
            before, ended = bytes_of(pid, "RssAnon"), threading.Event()
            seen = [0]

            def watch(pid=pid, before=before, ended=ended, seen=seen):
                while not ended.is_set():
                    seen[0] = max(seen[0], bytes_of(pid, "RssAnon") - before)

            watcher = threading.Thread(target=watch)
            watcher.start()
            try:
                session.execute("CREATE INDEX kept_emb ON kept USING mrl (emb) WITH (rerank = index)")
            finally:
                ended.set()
                watcher.join()
            session.execute("DROP INDEX kept_emb")
        peaks[megabytes] = seen[0] / MEGABYTE
    connection.execute("DROP TABLE kept")
    print(peaks)
    # Beside it the server and threads take something.
    assert peaks[24] <= 24 + 8, peaks
    # What else it would have taken.
    assert peaks[400] > 60, peaks
