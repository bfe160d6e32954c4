"""The index against exact answers, and under snapshots that other sessions' work must not disturb."""

import numpy as np
import psycopg
import pytest
from rows import BY_INDEX, BY_TABLE, plan

DIMENSIONS = 20
OPERATORS = {"<#>": "mrlvec_ip_ops", "<=>": "mrlvec_cosine_ops", "<->": "mrlvec_l2_ops"}


def literal(vector):
    return "[" + ",".join(f"{x:.3f}" for x in vector) + "]"


def fill(connection, table, rows, seed=1, dimensions=DIMENSIONS):
    """Vectors in clusters; among them equal ones, zeros and NULLs."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((8, dimensions))
    made = centres[generator.integers(8, size=rows)] + 0.5 * generator.standard_normal((rows, dimensions))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id int, emb mrlvec({dimensions}))")
    with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        for i, vector in enumerate(made):
            value = {0: None, 1: literal(np.zeros(dimensions)), 2: literal(made[0])}.get(i % 40, literal(vector))
            copy.write_row((seed * 1_000_000 + i, value))


@pytest.mark.parametrize("operator", OPERATORS)
def test_exact_settings_give_the_sequential_scans_answer(connection, operator):
    """10,000 queries a class, in custom and generic plans, of random dimension where the operator allows it; over one layer
    of codes and a part of it, two and three. Distances are compared."""
    dimensions = 140
    table = f"exact_{OPERATORS[operator]}"
    fill(connection, table, 600, dimensions=dimensions)
    connection.execute(f"CREATE INDEX {table}_emb ON {table} USING mrl (emb {OPERATORS[operator]}) WITH (lists = 4)")
    connection.execute("SET mrl.probes = 'all'; SET mrl.epsilon = 'exact'")
    nearest = f"SELECT array_agg(d) FROM (SELECT emb {operator} $1 AS d FROM {table} ORDER BY emb {operator} $1 LIMIT 25) s"
    # Generic plans stay as they were made: one for each way.
    connection.execute(f"PREPARE by_index(mrlvec) AS {nearest}; PREPARE by_table(mrlvec) AS {nearest}")
    generator = np.random.default_rng(4)
    for batch in range(100):
        queries = []
        for _ in range(100):
            length = dimensions if operator == "<->" else int(generator.integers(1, dimensions + 6))
            queries.append(literal(generator.standard_normal(length)))
        connection.execute(f"SET plan_cache_mode = {'force_custom_plan' if batch % 2 else 'force_generic_plan'}")
        answers = []
        for settings, name in [(BY_INDEX, "by_index"), (BY_TABLE, "by_table")]:
            connection.execute(settings)
            if batch < 2:
                shown = plan(connection, f"EXECUTE {name}('{queries[0]}')")
                assert (f"{table}_emb" in shown) == (name == "by_index"), shown
            answers.append([connection.execute(f"EXECUTE {name}('{query}')").fetchone()[0] for query in queries])
        for query, found, expected in zip(queries, *answers, strict=True):
            assert np.array_equal(found, expected, equal_nan=True), (batch, query)


def test_a_snapshot_sees_the_same_rows_while_others_write(connection, new_connection):
    """REPEATABLE READ through splits, deletions and vacuum of other sessions."""
    fill(connection, "seen", 3000)
    connection.execute("CREATE INDEX seen_emb ON seen USING mrl (emb)")
    reader = new_connection()
    ask = f"SELECT array_agg(id ORDER BY id) FROM (SELECT id FROM seen ORDER BY emb <#> '{literal(np.ones(DIMENSIONS))}') s"
    for level in ["REPEATABLE READ", "SERIALIZABLE"]:
        reader.execute(f"BEGIN ISOLATION LEVEL {level}; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
        before = reader.execute(ask).fetchone()[0]
        seed = 2 if level == "SERIALIZABLE" else 3
        fill(connection, "seen", 4000, seed)
        connection.execute("DELETE FROM seen WHERE id % 7 = 0")
        connection.execute("VACUUM seen")
        fill(connection, "seen", 4000, seed + 10)
        assert reader.execute(ask).fetchone()[0] == before
        reader.execute("COMMIT")
    assert connection.execute("SELECT count(*) FROM mrl_index_check('seen_emb', true)").fetchone()[0] == 0
    connection.execute("SET enable_seqscan = off; SET enable_sort = off")
    rows = connection.execute(ask).fetchone()[0]
    connection.execute("RESET enable_seqscan; RESET enable_sort")
    assert rows == connection.execute("SELECT array_agg(id ORDER BY id) FROM seen").fetchone()[0]


def test_a_scan_goes_on_while_rows_are_deleted_and_vacuumed(connection, new_connection):
    """A cursor opened before keeps its snapshot; each of its rows comes once."""
    fill(connection, "walked", 4000)
    connection.execute("CREATE INDEX walked_emb ON walked USING mrl (emb)")
    reader = new_connection()
    reader.execute("BEGIN; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    reader.execute(f"DECLARE c CURSOR FOR SELECT id FROM walked ORDER BY emb <#> '{literal(np.ones(DIMENSIONS))}'")
    found = [row[0] for row in reader.execute("FETCH 10 FROM c").fetchall()]
    connection.execute("DELETE FROM walked WHERE id % 3 = 0")
    connection.execute("VACUUM walked")
    fill(connection, "walked", 6000, 5)
    connection.execute("VACUUM walked")
    found += [row[0] for row in reader.execute("FETCH ALL FROM c").fetchall()]
    assert len(found) == 4000
    assert len(set(found)) == 4000


@pytest.mark.parametrize("whose", ["its own transaction", "another's"])
def test_a_scan_goes_on_while_one_large_transaction_fills_the_table(connection, new_connection, whose):
    """Lists that the transaction's splits retire are used again before it ends, but not while a scan reads them."""
    connection.execute("DROP TABLE IF EXISTS filled, kept; CREATE TABLE filled (id int, emb mrlvec(20))")
    connection.execute("CREATE INDEX filled_emb ON filled USING mrl (emb)")
    fill(connection, "filled", 4000)
    fill(connection, "kept", 20_000, 7)
    writer = new_connection()
    reader = writer if whose == "its own transaction" else new_connection()
    writer.execute("BEGIN")
    if reader is not writer:
        reader.execute("BEGIN")
    reader.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    nearest = f"SELECT id FROM filled ORDER BY emb <#> '{literal(np.ones(DIMENSIONS))}'"
    reader.execute(f"DECLARE c CURSOR FOR {nearest}")
    found = [row[0] for row in reader.execute("FETCH 10 FROM c").fetchall()]
    # In three statements: what the first retires the others could use.
    for part in range(3):
        writer.execute(f"INSERT INTO filled SELECT * FROM kept WHERE id % 3 = {part}")
    retired, made = writer.execute("SELECT retired_lists, lists_made FROM mrl_index_info('filled_emb')").fetchone()
    assert made > 20 and retired > 5
    found += [row[0] for row in reader.execute("FETCH ALL FROM c").fetchall()]
    assert len(found) == len(set(found)) == 4000
    reader.execute("CLOSE c")
    # Now nobody reads them.
    writer.execute("INSERT INTO filled SELECT * FROM kept")
    assert writer.execute("SELECT retired_lists FROM mrl_index_info('filled_emb')").fetchone()[0] < retired
    writer.execute("ROLLBACK")
    reader.execute("ROLLBACK")
    assert connection.execute("SELECT count(*) FROM mrl_index_check('filled_emb', true)").fetchone()[0] == 0
    connection.execute("DROP TABLE filled, kept")


def test_vacuum_by_parallel_workers(connection):
    """Each index is cleaned by a process of its own."""
    connection.execute("DROP TABLE IF EXISTS vacuumed; CREATE TABLE vacuumed (id int, emb mrlvec(20)) WITH (autovacuum_enabled = off)")
    fill(connection, "vacuumed", 6000)
    for name in OPERATORS.values():
        connection.execute(f"CREATE INDEX vacuumed_{name} ON vacuumed USING mrl (emb {name})")
    connection.execute("DELETE FROM vacuumed WHERE id % 3 = 0")
    connection.execute("SET min_parallel_index_scan_size = 0; SET max_parallel_maintenance_workers = 2")
    said = []
    connection.add_notice_handler(lambda notice: said.append(notice.message_primary))
    connection.execute("VACUUM (PARALLEL 2, VERBOSE, INDEX_CLEANUP on) vacuumed")
    assert any(message.startswith("launched 2 parallel vacuum workers") for message in said), said
    for name in OPERATORS.values():
        assert connection.execute(f"SELECT * FROM mrl_index_check('vacuumed_{name}', true)").fetchall() == []
        rows = connection.execute(f"SELECT rows + null_rows + zero_rows FROM mrl_index_info('vacuumed_{name}')").fetchone()
        assert rows == connection.execute("SELECT count(*) FROM vacuumed").fetchone()
    connection.execute("DROP TABLE vacuumed")


def test_pages_that_a_scan_finds_are_counted(connection):
    """What pg_statio_user_tables and pg_statio_user_indexes count is what EXPLAIN (BUFFERS) does."""
    if connection.info.server_version < 150000:
        pytest.skip("a session can't be told to hand its counters over before release 15")
    connection.execute("DROP TABLE IF EXISTS counted; CREATE TABLE counted (id int, emb mrlvec(20)) WITH (autovacuum_enabled = off)")
    fill(connection, "counted", 6000)
    connection.execute("CREATE INDEX counted_emb ON counted USING mrl (emb)")
    connection.execute("VACUUM ANALYZE counted")
    connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET plan_cache_mode = force_generic_plan")
    connection.execute("PREPARE near(mrlvec) AS SELECT id FROM counted ORDER BY emb <#> $1 LIMIT 10")

    def counts():
        connection.execute("SELECT pg_stat_force_next_flush()")
        return connection.execute("""
            SELECT heap_blks_hit, idx_blks_hit, heap_blks_read + idx_blks_read FROM pg_statio_user_tables WHERE relname = 'counted'
        """).fetchone()

    queries = [literal(query) for query in np.random.default_rng(1).standard_normal((20, DIMENSIONS))]
    connection.execute(f"EXECUTE near('{queries[0]}')")
    before, by_explain = counts(), 0
    for query in queries:
        explained = connection.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) EXECUTE near('{query}')").fetchone()[0]
        by_explain += explained[0]["Plan"]["Shared Hit Blocks"]
    heap, index, read = (after - former for after, former in zip(counts(), before, strict=True))
    # Some rows of each page lie together; both are read many times.
    assert heap >= 200 and index >= 200 and read == 0, (heap, index, read)
    assert heap + index == by_explain
    connection.execute("DROP TABLE counted")


def test_a_scan_that_is_given_up_keeps_no_pages_from_use(connection, new_connection):
    """Errors, cursors and savepoints end scans in every way: what they have pinned is free, and the server warns of nothing."""
    connection.execute("DROP TABLE IF EXISTS given_up, kept; CREATE TABLE given_up (id int, emb mrlvec(20))")
    connection.execute("CREATE INDEX given_up_emb ON given_up USING mrl (emb)")
    fill(connection, "given_up", 4000)
    fill(connection, "kept", 20_000, 7)
    session, said = new_connection(), []
    session.add_notice_handler(lambda notice: said.append(notice.message_primary))
    session.execute("SET enable_seqscan = off; SET enable_sort = off")
    nearest = f"FROM given_up ORDER BY emb <#> '{literal(np.ones(DIMENSIONS))}'"
    fails = f"SELECT 1 / (id % 20 - 10) {nearest} LIMIT 1000"
    with pytest.raises(psycopg.errors.DivisionByZero):
        session.execute(fails)
    session.execute("BEGIN; SAVEPOINT one")
    with pytest.raises(psycopg.errors.DivisionByZero):
        session.execute(fails)
    session.execute(f"ROLLBACK TO one; DECLARE outside CURSOR FOR SELECT id {nearest}; SAVEPOINT two; FETCH 5 FROM outside")
    session.execute(f"DECLARE inside CURSOR FOR SELECT id {nearest}; FETCH 5 FROM inside; ROLLBACK TO two")
    assert len(session.execute("FETCH 5 FROM outside").fetchall()) == 5
    session.execute(f"DECLARE held CURSOR WITH HOLD FOR SELECT id {nearest} LIMIT 50; FETCH 5 FROM held; COMMIT")
    assert len(session.execute("FETCH ALL FROM held").fetchall()) == 45
    session.execute("CLOSE held")
    with pytest.raises(psycopg.errors.WrongObjectType):
        session.execute("SELECT * FROM mrl_index_info('given_up')")
    session.execute(f"""
        DO $$ DECLARE row record; BEGIN
            FOR row IN SELECT id {nearest} LIMIT 100 LOOP EXIT WHEN row.id % 7 = 3; END LOOP;
            BEGIN
                FOR row IN SELECT id {nearest} LIMIT 100 LOOP PERFORM 1 / (row.id % 7 - 3); END LOOP;
            EXCEPTION WHEN division_by_zero THEN NULL; END;
        END $$
    """)
    session.execute("BEGIN")
    for _ in range(3):
        session.execute("INSERT INTO given_up SELECT * FROM kept")
    retired, made = session.execute("SELECT retired_lists, lists_made FROM mrl_index_info('given_up_emb')").fetchone()
    session.execute("ROLLBACK")
    # Each split has found what those before it left.
    assert made > 100 and retired <= 16, (retired, made)
    assert said == []
    connection.execute("DROP TABLE given_up, kept")


def test_a_check_refuses_a_snapshot_older_than_the_index(connection, new_connection):
    """The index lacks rows that the snapshot sees and that were updated within their pages since: that is no damage."""
    connection.execute("CREATE TABLE aged (id int, active bool, emb mrlvec(20)) WITH (fillfactor = 50)")
    fill(connection, "aged_source", 200)
    connection.execute("INSERT INTO aged SELECT id, true, emb FROM aged_source WHERE emb IS NOT NULL")
    reader = new_connection()
    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    reader.execute("SELECT count(*) FROM aged")
    connection.execute("UPDATE aged SET active = false WHERE id % 3 = 0")
    connection.execute("CREATE INDEX aged_emb ON aged USING mrl (emb) WHERE active")
    assert reader.execute("SELECT * FROM mrl_index_check('aged_emb', false)").fetchall() == []
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        reader.execute("SELECT * FROM mrl_index_check('aged_emb', true)")
    reader.execute("ROLLBACK")
    assert reader.execute("SELECT * FROM mrl_index_check('aged_emb', true)").fetchall() == []
    connection.execute("DROP TABLE aged, aged_source")


def test_a_family_with_an_operator_that_is_not_known_is_not_valid(connection):
    """Nor is it asked by another operator than its own."""
    connection.execute("CREATE TEMP TABLE two (emb mrlvec(2)); INSERT INTO two VALUES ('[1,0]'), ('[0,1]'); CREATE INDEX ON two USING mrl (emb)")
    connection.execute("SET enable_seqscan = off; SET enable_sort = off")
    valid = "SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'mrlvec_ip_ops'"
    assert connection.execute(valid).fetchone() == (True,)
    connection.execute(
        "ALTER OPERATOR FAMILY mrlvec_ip_ops USING mrl ADD OPERATOR 2 <-> (mrlvec, mrlvec) FOR ORDER BY float_ops"
    )
    assert connection.execute(valid).fetchone() == (False,)
    with pytest.raises(psycopg.errors.InternalError_, match="one operator"):
        connection.execute("SELECT * FROM two ORDER BY emb <-> '[1,0]' LIMIT 1")
    connection.execute("ALTER OPERATOR FAMILY mrlvec_ip_ops USING mrl DROP OPERATOR 2 (mrlvec, mrlvec)")
    assert connection.execute(valid).fetchone() == (True,)


def test_a_parameter_that_does_not_fit_stands_in_no_later_builds_way(connection):
    connection.execute("CREATE TEMP TABLE any_length (emb mrlvec); CREATE INDEX i ON any_length USING mrl ((emb::mrlvec(4)))")
    connection.execute("INSERT INTO any_length VALUES ('[1,0,0,0]'); ALTER INDEX i SET (rerank = heap, coarse_dims = 4000)")
    connection.execute("REINDEX INDEX i")
    connection.execute("TRUNCATE any_length")
    connection.execute("INSERT INTO any_length VALUES ('[1,0,0,0]')")
    assert connection.execute("SELECT keeps_vectors, rows FROM mrl_index_info('i')").fetchone() == (True, 1)
