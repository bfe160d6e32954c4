"""How large the index gets, and stays, under updates: what they cost, and that vacuum gives it back."""

import numpy as np
import pytest
from rows import clustered, fill, problems

ROWS = 20_000


@pytest.fixture
def updated(connection):
    """A table with a second indexed column, so that no update is heap-only."""
    if connection.info.server_version < 140000:
        pytest.skip("release 13 tells an index neither which values an update left nor which pages are past")
    connection.execute(
        "CREATE TABLE updated (id int PRIMARY KEY, n int, emb mrlvec(64)) WITH (autovacuum_enabled = off)"
    )
    fill(connection, "updated", id=np.arange(ROWS), n=np.zeros(ROWS, int), emb=clustered(ROWS, 64, 1))
    connection.execute("CREATE INDEX updated_n ON updated (n); CREATE INDEX updated_emb ON updated USING mrl (emb)")
    yield connection
    connection.execute("DROP TABLE updated")


def size(connection):
    return connection.execute("SELECT pg_relation_size('updated_emb')").fetchone()[0]


def info(connection):
    return connection.execute("SELECT rows, references_to_rows FROM mrl_index_info('updated_emb')").fetchone()


def sound(connection):
    """Nothing wrong with the index; each row of the table comes once."""
    assert problems(connection, "updated_emb") == []
    connection.execute("SET enable_seqscan = off; SET enable_sort = off")
    found = "SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM updated ORDER BY emb <#> '[1,1]' LIMIT 1000000) s"
    assert connection.execute(found).fetchone() == (ROWS, ROWS)
    connection.execute("RESET enable_seqscan; RESET enable_sort")


@pytest.mark.parametrize(
    ("what", "storage", "index", "is_read"),
    [
        ("a column", "plain", "mrl (emb)", True),
        ("compressed", "main", "mrl (emb)", True),
        ("out of the row", "external", "mrl (emb) WITH (rerank = heap)", False),
        ("partial", "plain", "mrl (emb) WHERE id % 2 = 0", True),
        ("another dimension", "plain", "mrl ((emb::mrlvec(32)))", True),
    ],
)
def test_a_split_reads_rows_of_the_table(connection, what, storage, index, is_read):
    """Rows come to be encoded against their own list's centre, where they can be read; dead ones do no harm."""
    dimensions = 1100 if storage == "external" else 64
    connection.execute(
        f"DROP TABLE IF EXISTS read; CREATE TABLE read (id int, emb mrlvec({dimensions})) WITH (autovacuum_enabled = off)"
    )
    connection.execute(f"ALTER TABLE read ALTER emb SET STORAGE {storage}")
    connection.execute(f"CREATE INDEX read_emb ON read USING {index}")
    vectors = clustered(16_000, dimensions, 3)

    def add(first):
        fill(connection, "read", id=np.arange(first, first + 500), emb=vectors[first : first + 500])

    for first in range(0, 8000, 500):
        add(first)
    lists, frames = connection.execute("SELECT lists, frames_per_list FROM mrl_index_info('read_emb')").fetchone()
    # An index of an expression keeps copies of what the expression gave, which are as good.
    assert lists > 1 and ((frames == 1) if is_read else (frames > 1)), (lists, frames)
    for first in range(8000, 16_000, 500):
        add(first)
        connection.execute(f"DELETE FROM read WHERE id % 10 = 3 AND id >= {first}")
        connection.execute(f"UPDATE read SET emb = emb + emb WHERE id % 10 = 4 AND id >= {first}")
        if first % 2000 == 0:
            connection.execute("VACUUM read")
    assert problems(connection, "read_emb") == []
    connection.execute("DROP TABLE read")


def test_an_update_that_leaves_the_vector_costs_a_reference(updated):
    """At most 16 bytes a row over a full round; vacuum takes the references back, and the next round needs no more."""
    fresh = size(updated)
    largest = 0
    for number in range(10):
        before = size(updated)
        updated.execute("UPDATE updated SET n = n + 1")
        assert info(updated) == (ROWS, ROWS), "a row took a code of its own"
        if number == 0:
            assert size(updated) - before <= 16 * ROWS
            sound(updated)
        updated.execute("VACUUM updated")
        assert info(updated) == (ROWS, 0)
        assert size(updated) <= 1.3 * fresh, f"round {number}"
        if number == 0:
            largest = size(updated)
    # The first round's pages were enough for all that came after it.
    assert size(updated) == largest
    sound(updated)


def test_rounds_of_new_vectors_use_their_pages_again(updated):
    """Each row takes another one's vector, so that a fresh index would have the same size at any time."""
    fresh = size(updated)
    sizes = []
    for _ in range(10):
        updated.execute(
            f"UPDATE updated SET emb = other.emb FROM updated other WHERE other.id = (updated.id + 7919) % {ROWS}"
        )
        updated.execute("VACUUM updated")
        sizes.append(size(updated) / fresh)
    sound(updated)
    assert info(updated) == (ROWS, 0)
    # A round has two versions of all rows at once, in blocks nine tenths full, and in the first of them each list of the
    # fresh index is split: its 2,176 slots, of 1,667 rows, are not free before the transaction ends, nor are up to six
    # lists of twelve that were made meanwhile and cut again: how many depends on where the centres fall (of 29 runs the
    # sizes were 3.28 to 3.91). After it all pages are used again.
    assert max(sizes) <= 2 / 0.9 + 2176 / 1667 + 6 / 12 and sizes[-1] <= 1.05 * max(sizes[:3]), sizes
    updated.execute("REINDEX INDEX updated_emb")
    assert size(updated) <= 1.1 * fresh


def test_a_table_emptied_and_filled_keeps_its_size(updated):
    """Lists that have lost their rows are written anew; the pages of the old ones wait for the vacuum after the next
    transaction, so there may be two sets of pages, and the blocks that are filled side by side."""
    fresh = size(updated)
    sizes = []
    for _ in range(6):
        updated.execute("CREATE TEMPORARY TABLE kept AS SELECT * FROM updated")
        updated.execute("DELETE FROM updated")
        updated.execute("VACUUM updated")
        assert info(updated) == (0, 0)
        updated.execute("INSERT INTO updated SELECT * FROM kept")
        updated.execute("DROP TABLE kept")
        sizes.append(size(updated) / fresh)
    assert max(sizes) <= 2.5 and sizes[-1] <= 1.05 * sizes[1], sizes
    sound(updated)


def test_the_log_gets_what_is_used_of_a_page(cluster):
    """An index of a few rows has pages that are nearly empty; an update that leaves the vector writes eight bytes."""
    connection = cluster().connect()
    connection.execute("CREATE EXTENSION pg_mrl; SET search_path = public")

    def logged(statement):
        before = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()[0]
        connection.execute(statement)
        ask = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)::bigint"
        return connection.execute(ask, (before,)).fetchone()[0]

    connection.execute("CREATE TABLE few (id int, emb mrlvec(64)) WITH (autovacuum_enabled = off)")
    fill(connection, "few", id=np.arange(10), emb=clustered(10, 64, 1))
    create = "CREATE INDEX few_emb ON few USING mrl (emb)"
    # The first time the catalogue's pages are logged whole too.
    connection.execute(f"{create}; DROP INDEX few_emb")
    bytes_logged = logged(create)
    pages = connection.execute("SELECT pg_relation_size('few_emb') / 8192").fetchone()[0]
    assert pages >= 6 and bytes_logged < 8192 * pages / 2, (bytes_logged, pages)

    costs = []
    for options in ["", "; CREATE INDEX many_emb ON many USING mrl (emb)"]:
        connection.execute("DROP TABLE IF EXISTS many")
        connection.execute("CREATE TABLE many (id int, n int, emb mrlvec(64)) WITH (autovacuum_enabled = off)")
        fill(connection, "many", id=np.arange(2000), n=np.zeros(2000, int), emb=clustered(2000, 64, 2))
        connection.execute(f"CREATE INDEX ON many (n){options}; UPDATE many SET n = 1")
        connection.execute("VACUUM many")
        costs.append(logged("UPDATE many SET n = 2") / 2000)
    if connection.info.server_version >= 140000:
        assert costs[1] - costs[0] <= 128, costs
    connection.close()
