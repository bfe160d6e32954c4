"""Builds and inserts for which the disk does not suffice: an error, and nothing left behind."""

import os
import shutil
import subprocess

import numpy as np
import psycopg
import pytest
from clusters import server_user
from rows import EXACT, both_ways, clustered, fill, literal, problems


def make(connection, rows):
    connection.execute("CREATE EXTENSION pg_mrl; CREATE TABLE t (id int PRIMARY KEY, emb mrlvec(64))")
    fill(connection, "t", id=np.arange(rows), emb=clustered(rows, 64, 1))


def test_an_index_that_was_to_move(cluster):
    """What a session knows of the lists of an index's copy, which a rollback takes back, it doesn't take for those of the index."""
    server = cluster()
    folder = server.data.parent / "elsewhere"
    folder.mkdir()
    shutil.chown(folder, server_user())
    queries = [literal(query) for query in clustered(30, 64, 5)]
    ask = "SELECT array_agg(id) FROM (SELECT id FROM t ORDER BY emb <#> '{}' LIMIT 10) s"
    with server.connect() as first, server.connect() as second:
        make(first, 3000)
        first.execute(f"CREATE TABLESPACE elsewhere LOCATION '{folder}'")
        first.execute("CREATE INDEX t_emb ON t USING mrl (emb)")
        for session in [first, second]:
            session.execute("SET enable_seqscan = off; SET enable_sort = off")
        first.execute("BEGIN; ALTER INDEX t_emb SET TABLESPACE elsewhere")
        fill(first, "t", id=np.arange(10_000, 20_000), emb=clustered(10_000, 64, 2))
        first.execute(ask.format(queries[0]))
        first.execute("ROLLBACK")
        fill(second, "t", id=np.arange(20_000, 30_000), emb=clustered(10_000, 64, 3))
        for query in queries:
            assert first.execute(ask.format(query)).fetchone() == second.execute(ask.format(query)).fetchone()
        fill(first, "t", id=np.arange(30_000, 34_000), emb=clustered(4000, 64, 4))
        assert problems(first, "t_emb") == []


@pytest.fixture
def small_disk(cluster):
    """A server, and a tablespace of 4 MB on a file system of its own."""
    server = cluster()
    folder = server.data.parent / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "pg_mrl_small", folder]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a file system that is too small can only be mounted by root")
    shutil.chown(folder, server_user())
    try:
        with server.connect() as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")
        yield server, folder
        server.control("stop", "-m", "fast")
    finally:
        subprocess.run(["umount", folder], check=True)


def files(folder):
    """Files that hold something: of a file that was dropped an empty one stays till the next checkpoint."""
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "PG_VERSION"]


@pytest.mark.parametrize("concurrently", ["", "CONCURRENTLY"], ids=["at once", "concurrently"])
def test_a_build_that_fills_the_disk(small_disk, concurrently):
    server, folder = small_disk
    with server.connect() as connection:
        make(connection, 40_000)
        with pytest.raises(psycopg.errors.DiskFull):
            connection.execute(
                f"CREATE INDEX {concurrently} t_emb ON t USING mrl (emb) WITH (rerank = index) TABLESPACE small"
            )
        if concurrently:
            # The server leaves the entry, marked invalid, as of any access method.
            connection.execute("DROP INDEX t_emb")
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname = 't_emb'").fetchone() == (0,)
        connection.execute("CHECKPOINT")
        assert files(folder) == []
        # The session goes on, and what fits is built.
        connection.execute("CREATE INDEX t_emb ON t USING mrl (emb) TABLESPACE small WHERE id < 3000")
        assert problems(connection, "t_emb") == []


@pytest.mark.parametrize("rerank", ["heap", "index"])
def test_a_build_puts_aside_what_memory_has_no_room_for(cluster, rerank):
    """Rows wait in a temporary file, within its limit; the index is as large, and finds as much, as with all memory."""
    server = cluster()
    with server.connect() as connection:
        make(connection, 40_000)
        build = f"CREATE INDEX t_emb ON t USING mrl (emb) WITH (rerank = {rerank})"
        connection.execute("SET maintenance_work_mem = '1MB'; SET temp_file_limit = '500kB'")
        with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="temporary file"):
            connection.execute(build)
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname = 't_emb'").fetchone() == (0,)
        connection.execute("RESET temp_file_limit")
        # Of each size and memory: bytes, rows scored by twenty queries, and what is found.
        seen = []
        query = "SELECT id FROM t ORDER BY emb <#> '{}' LIMIT 10"
        for memory in ["1MB", "400MB"]:
            connection.execute(f"SET maintenance_work_mem = '{memory}'; DROP INDEX IF EXISTS t_emb")
            connection.execute(build)
            assert connection.execute("SELECT count(*) FROM pg_ls_tmpdir()").fetchone() == (0,)
            assert problems(connection, "t_emb") == []
            (size,) = connection.execute("SELECT pg_relation_size('t_emb')").fetchone()
            connection.execute(EXACT)
            for vector in clustered(5, 64, 3):
                by_index, by_table = both_ways(connection, query.format(literal(vector)), "t_emb")
                assert by_index == by_table
            connection.execute("RESET ALL; SET search_path = public")
            (recall,) = connection.execute("SELECT recall FROM mrl_recall('t_emb', 200)").fetchone()
            seen.append((size, recall))
        (small, by_little), (large, by_much) = seen
        # Lists differ from build to build, and each has a page that is partly filled.
        assert small <= 1.06 * large, seen
        assert by_little >= by_much - 0.01, seen


def test_inserts_that_fill_the_disk(small_disk):
    """The statement fails; what was there before stays, and with more room the index goes on."""
    server, folder = small_disk
    with server.connect() as connection:
        make(connection, 0)
        connection.execute("CREATE INDEX t_emb ON t USING mrl (emb) WITH (rerank = index) TABLESPACE small")
        vectors = clustered(1000, 64, 2)
        kept = 0
        with pytest.raises(psycopg.errors.DiskFull):
            for kept in range(0, 100_000, 1000):
                fill(connection, "t", id=np.arange(kept, kept + 1000), emb=vectors)
        assert kept >= 3000
        assert problems(connection, "t_emb") == []
        connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        every = f"SELECT id FROM t ORDER BY emb <#> '{literal(vectors[0])}' LIMIT 1000000"
        everything = f"SELECT count(*), count(DISTINCT id) FROM ({every}) s"
        assert connection.execute(everything).fetchone() == (kept, kept)
        # Vacuum frees the places that the failed statement's rows have taken; deletions and queries go on.
        connection.execute("DELETE FROM t WHERE id >= 2000")
        connection.execute("VACUUM t")
        # It has written lists anew that had lost most of their rows; the next one gives the old ones' pages back.
        connection.execute("VACUUM t")
        fill(connection, "t", id=np.arange(200_000, 200_500), emb=vectors[:500])
        assert connection.execute(everything).fetchone() == (2500, 2500)
        assert problems(connection, "t_emb") == []
