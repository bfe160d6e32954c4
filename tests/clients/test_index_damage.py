"""Damaged pages of an index, by random flips of bits, without checksums."""

import random

import numpy as np
import psycopg
import pytest
from rows import clustered, fill, literal

ROWS, DIMENSIONS = 6000, 64
DAMAGE = ("XX001", "XX002", "58P01", "22000")
# Bytes of a page that the server's log relies on: where its free space begins and ends.
PAGE_BYTES, LOWER, UPPER_END = 8192, 12, 16
# Where the first page tells the metric, and that the index keeps vectors: behind the server's header, in our own.
METRIC, KEEPS_VECTORS = 24 + 48, 24 + 49


@pytest.mark.parametrize(
    "operator, options", [("<#>", "mrlvec_ip_ops"), ("<=>", "mrlvec_cosine_ops) WITH (rerank = index")], ids=["ip", "copies"]
)
def test_damaged_pages_are_errors_or_go_unnoticed(cluster, operator, options):
    """Random bytes of the index's file flipped: an error, or rows that are there; never a crash, never a hang."""
    server = cluster("autovacuum = off")
    generator = random.Random(4)
    with server.connect() as connection:
        connection.execute(f"CREATE EXTENSION pg_mrl; CREATE TABLE t (id bigint PRIMARY KEY, n int, emb mrlvec({DIMENSIONS}))")
        connection.execute("CREATE TEMPORARY TABLE made (id int, n int, emb mrlvec)")
        fill(connection, "made", id=np.arange(ROWS), n=np.arange(ROWS) % 100, emb=clustered(ROWS, DIMENSIONS, 1))
        connection.execute("INSERT INTO t SELECT * FROM made; CREATE INDEX t_n ON t (n)")
        connection.execute(f"CREATE INDEX t_emb ON t USING mrl (emb {options}); CHECKPOINT")
        path, size = connection.execute("SELECT pg_relation_filepath('t_emb'), pg_relation_size('t_emb')").fetchone()
    server.control("stop", "-m", "fast")
    sound = (server.data / path).read_bytes()
    flips, rounds, added, errors = 1000, 10, 0, 0
    for _ in range(rounds):
        broken = bytearray(sound)
        places = [generator.randrange(size) for _ in range(flips // rounds)]
        # And some where chance seldom leads.
        pages = [generator.randrange(size // PAGE_BYTES) for _ in range(5)]
        places += [page * PAGE_BYTES + generator.randrange(LOWER, UPPER_END) for page in pages]
        for place in places:
            broken[place] ^= 1 << generator.randrange(8)
        # Stopped in order: recovery would put the pages of the log over the damage.
        with (server.data / path).open("r+b") as file:
            file.write(broken)
            file.truncate(size)
        server.control("start")
        with server.connect() as connection:
            connection.execute("SET statement_timeout = '30s'; SET enable_seqscan = off; SET enable_sort = off")

            def attempt(statement):
                nonlocal errors
                try:
                    result = connection.execute(statement)
                    return result.fetchall() if result.description else None
                except psycopg.errors.QueryCanceled:
                    raise
                except psycopg.DatabaseError as error:
                    assert error.sqlstate in DAMAGE, error
                    errors += 1

            for vector in clustered(20, DIMENSIONS, generator.randrange(1000)):
                asked = literal(vector)
                found = attempt(f"SELECT id, emb {operator} '{asked}' FROM t ORDER BY emb {operator} '{asked}' LIMIT 100") or []
                ids = [number for number, _ in found]
                true = connection.execute(f"SELECT id, emb {operator} '{asked}' FROM t WHERE id = ANY(%s)", (ids,)).fetchall()
                assert dict(true) == dict(found)
                added += 1
                attempt(f"INSERT INTO t VALUES ({1_000_000 + added}, 0, '{asked}')")
                attempt(f"UPDATE t SET n = n + 1 WHERE id = {generator.randrange(ROWS)}")
            attempt("VACUUM t")
            attempt("SELECT * FROM mrl_index_check('t_emb')")
        server.control("stop", "-m", "fast")
    assert "terminated by signal" not in server.log.read_text()
    assert errors > 0, "no damage was met"


def change_byte(server, path, place, before, after):
    """One byte of a file, while the server is stopped in order: recovery would undo it."""
    server.control("stop", "-m", "fast")
    with (server.data / path).open("r+b") as file:
        file.seek(place)
        assert file.read(1) == before
        file.seek(place)
        file.write(after)
    server.control("start")


def test_an_index_of_an_expression_that_has_lost_its_vectors_is_an_error(cluster):
    """Nothing of the table's columns is taken for what the expression gave."""
    server = cluster("autovacuum = off")
    with server.connect() as connection:
        connection.execute(f"CREATE EXTENSION pg_mrl; CREATE TABLE t (id int, emb mrlvec({DIMENSIONS}))")
        fill(connection, "t", id=np.arange(ROWS), emb=clustered(ROWS, DIMENSIONS, 1))
        connection.execute("CREATE INDEX t_emb ON t USING mrl ((emb::mrlvec(32))); CHECKPOINT")
        path = connection.execute("SELECT pg_relation_filepath('t_emb')").fetchone()[0]
    change_byte(server, path, KEEPS_VECTORS, b"\x01", b"\x00")
    with server.connect() as connection:
        connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        for vector in clustered(5, 32, 2):
            with pytest.raises(psycopg.DatabaseError) as caught:
                connection.execute(f"SELECT id FROM t ORDER BY emb::mrlvec(32) <#> '{literal(vector)}' LIMIT 10")
            assert caught.value.sqlstate in DAMAGE, caught.value
    assert "terminated by signal" not in server.log.read_text()


def test_a_metric_that_is_not_that_of_the_operators_is_an_error(cluster):
    """L2 compares whole vectors, and shorter queries would be asked by it."""
    server = cluster("autovacuum = off")
    with server.connect() as connection:
        connection.execute(f"CREATE EXTENSION pg_mrl; CREATE TABLE t (id int, emb mrlvec({DIMENSIONS}))")
        fill(connection, "t", id=np.arange(ROWS), emb=clustered(ROWS, DIMENSIONS, 1))
        connection.execute("CREATE INDEX t_emb ON t USING mrl (emb); CHECKPOINT")
        path = connection.execute("SELECT pg_relation_filepath('t_emb')").fetchone()[0]
    change_byte(server, path, METRIC, b"\x00", b"\x02")
    with server.connect() as connection:
        connection.execute("SET enable_seqscan = off; SET enable_sort = off")
        for dimensions in (32, DIMENSIONS):
            for vector in clustered(2, dimensions, 2):
                with pytest.raises(psycopg.DatabaseError) as caught:
                    connection.execute(f"SELECT id FROM t ORDER BY emb <#> '{literal(vector)}' LIMIT 10")
                assert caught.value.sqlstate == "XX002", caught.value
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (ROWS,)
