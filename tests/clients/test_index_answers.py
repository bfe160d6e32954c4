"""What the index answers, beside a sequential scan: with filters, of odd tables, in every kind of plan."""

import numpy as np
import pytest
from rows import BY_INDEX, BY_TABLE, EXACT, both_ways, clustered, fill, literal, plan, problems

CLASSES = {"<#>": "mrlvec_ip_ops", "<=>": "mrlvec_cosine_ops", "<->": "mrlvec_l2_ops"}


@pytest.fixture(scope="module")
def filtered():
    """Rows of tenants of which one has every second row, …, every ten-thousandth."""
    return np.arange(50_000), [2, 10, 100, 1000, 10_000], clustered(50_000, 64, 1)


@pytest.mark.parametrize("follows", ["nothing", "the vector"])
def test_a_filter_leaves_no_query_short_and_keeps_recall(connection, filtered, follows):
    """50 % to 0.01 % of the rows pass, by chance or those that lie together; the index is used although other plans would be
    better."""
    ids, parts, vectors = filtered
    # Of rows in the order of their products with one of them those of a tenant are alike, and far from most queries.
    place = np.argsort(np.argsort(vectors @ vectors[0]))
    tenants = {f"of_{part}": place * part // len(ids) if follows == "the vector" else ids % part for part in parts}
    columns = ", ".join(f"{name} int" for name in tenants)
    connection.execute(f"CREATE TABLE filtered (id int PRIMARY KEY, {columns}, emb mrlvec(64))")
    fill(connection, "filtered", id=ids, **tenants, emb=vectors)
    connection.execute("CREATE INDEX filtered_emb ON filtered USING mrl (emb)")
    connection.execute("ANALYZE filtered")
    # Another round's rows may be nearer: the client sorts what it gets.
    ask = "SELECT emb <#> '{query}' FROM filtered WHERE of_{part} = {tenant} ORDER BY emb <#> '{query}' LIMIT 10"
    recall = {}
    for part in parts:
        hits = wanted = 0
        for number, query in enumerate(clustered(20, 64, 2)):
            statement = ask.format(query=literal(query), part=part, tenant=number * 7 % part)
            found, exact = both_ways(connection, statement, "filtered_emb")
            assert len(found) == len(exact) == min(10, 50_000 // part), (part, number)
            wanted += len(exact)
            hits += sum(distance <= exact[-1][0] for (distance,) in found)
        recall[part] = hits / wanted
    assert min(recall.values()) >= 0.95, recall
    # Left to itself the planner takes the other plan where hardly a row passes.
    connection.execute("RESET ALL")
    connection.execute("CREATE INDEX filtered_tenant ON filtered (of_10000)")
    connection.execute("ANALYZE filtered")
    statement = ask.format(query=literal(vectors[0]), part=10_000, tenant=1)
    assert "filtered_tenant" in plan(connection, statement)
    connection.execute("DROP TABLE filtered")


# Rows, as SQL: how many of which vector. A hundred thousand equal rows don't fit a list that can be split.
ODD_TABLES = {
    "empty": [],
    "one row": ["SELECT '[1,2,3,4]' FROM generate_series(1, 1)"],
    "only NULLs": ["SELECT NULL FROM generate_series(1, 700)"],
    "only zeros": ["SELECT '[0,0,0,0]' FROM generate_series(1, 700)"],
    "a list of one": [
        "SELECT ARRAY[1000 + i % 7, i % 11, 1, 1]::real[]::text FROM generate_series(1, 200) i",
        "SELECT '[-9000,-9000,5,5]'",
    ],
    "100,000 equal": [
        "SELECT '[1,2,3,4]' FROM generate_series(1, 50000)",
        "SELECT NULL FROM generate_series(1, 300)",
        "SELECT ARRAY[i % 17, i % 7, -i, i % 3]::real[]::text FROM generate_series(1, 500) i",
        "SELECT '[0,0,0,0]' FROM generate_series(1, 300)",
        "SELECT '[1,2,3,4]' FROM generate_series(1, 50000)",
    ],
}


@pytest.mark.parametrize("made", ["built", "grown"])
@pytest.mark.parametrize("name", ODD_TABLES)
def test_odd_tables_are_answered_exactly(connection, name, made):
    """Every row comes once, at the sequential scan's distance, in its order, for every class."""
    connection.execute("DROP TABLE IF EXISTS odd; CREATE TABLE odd (id serial, emb mrlvec(4))")
    indexes = "; ".join(
        f"CREATE INDEX odd_{name} ON odd USING mrl (emb {name})" + (" WITH (lists = 2)" if made == "built" else "")
        for name in CLASSES.values()
    )
    if made == "grown":
        connection.execute(indexes)
    for rows in ODD_TABLES[name]:
        connection.execute(f"INSERT INTO odd (emb) SELECT replace(replace(v, '{{', '['), '}}', ']')::mrlvec FROM ({rows}) s(v)")
    if made == "built":
        connection.execute(indexes)
    connection.execute("ANALYZE odd")
    count = connection.execute("SELECT count(*) FROM odd").fetchone()[0]
    connection.execute(EXACT)
    for operator, name in CLASSES.items():
        assert problems(connection, f"odd_{name}") == []
        queries = ["[1,2,3,4]", "[-1,0.5,2,-3]", "[0,0,0,0]"] + (["[1]", "[0,-1]"] if operator == "<#>" else [])
        for query in queries:
            # NaN equals NaN in the server's arrays, and NULL NULL.
            statement = f"""
                SELECT count(*), count(DISTINCT id), md5(array_agg(distance)::text)
                FROM (SELECT id, emb {operator} '{query}' AS distance FROM odd ORDER BY emb {operator} '{query}' LIMIT 1000000) s
            """
            found, exact = both_ways(connection, statement, f"odd_{name}")
            assert found == exact, (operator, query)
            assert found[0][:2] == (count, count)


@pytest.fixture
def planned(connection):
    """3,000 rows, every one of 20 vectors among them repeated, and 20 queries."""
    connection.execute("CREATE TABLE planned (id int PRIMARY KEY, n int, emb mrlvec(24))")
    connection.execute("CREATE TABLE asked (id int PRIMARY KEY, n int, emb mrlvec(24))")
    vectors = clustered(3000, 24, 3)
    vectors[100:2000:100] = vectors[0]
    fill(connection, "planned", id=np.arange(3000), n=np.arange(3000) % 7, emb=vectors)
    fill(connection, "asked", id=np.arange(20), n=np.arange(20), emb=clustered(20, 24, 4))
    connection.execute("CREATE INDEX planned_emb ON planned USING mrl (emb) WITH (lists = 6)")
    connection.execute("ANALYZE planned; ANALYZE asked")
    connection.execute(EXACT)
    yield connection
    connection.execute("DROP TABLE planned, asked CASCADE")


QUERY = literal(clustered(1, 24, 5)[0])
STATEMENTS = {
    "limit": f"SELECT emb <#> '{QUERY}' FROM planned ORDER BY emb <#> '{QUERY}' LIMIT 40",
    "all": f"SELECT count(*), sum(d) FROM (SELECT emb <#> '{QUERY}' AS d FROM planned ORDER BY emb <#> '{QUERY}' LIMIT 100000) s",
    "filter": f"SELECT id, emb <#> '{QUERY}' AS d FROM planned WHERE n = 3 ORDER BY emb <#> '{QUERY}' LIMIT 40",
    "lateral": """
        SELECT asked.id, near.d FROM asked, LATERAL
            (SELECT planned.emb <#> asked.emb AS d FROM planned ORDER BY planned.emb <#> asked.emb LIMIT 5) near
        ORDER BY asked.id, near.d
    """,
    "lateral in lateral": """
        SELECT asked.id, near.n, sum(next.d) FROM asked,
            LATERAL (SELECT n, emb FROM planned WHERE planned.n = asked.id % 7 ORDER BY planned.emb <#> asked.emb LIMIT 2) near,
            LATERAL (SELECT planned.emb <#> near.emb AS d FROM planned ORDER BY planned.emb <#> near.emb LIMIT 3) next
        GROUP BY asked.id, near.n ORDER BY asked.id
    """,
    "subquery a row": """
        SELECT id, (SELECT min(d) FROM (SELECT planned.emb <#> asked.emb AS d FROM planned WHERE planned.n = asked.n % 7
            ORDER BY planned.emb <#> asked.emb LIMIT 3) s) FROM asked ORDER BY id
    """,
    "union": f"""
        SELECT d FROM (
            (SELECT emb <#> '{QUERY}' AS d FROM planned ORDER BY emb <#> '{QUERY}' LIMIT 10) UNION ALL
            (SELECT emb <#> '[1]' FROM planned ORDER BY emb <#> '[1]' LIMIT 10)) s ORDER BY d
    """,
    "window": f"""
        SELECT d, rank() OVER (ORDER BY d) FROM
            (SELECT emb <#> '{QUERY}' AS d FROM planned ORDER BY emb <#> '{QUERY}' LIMIT 200) s
    """,
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_plans_give_the_sequential_scans_answer(planned, name):
    found, exact = both_ways(planned, STATEMENTS[name], "planned_emb")
    assert found == exact
    assert len(found) > 0


# The server never runs a subquery with LIMIT in a worker, but all of a statement, or an expression.
PARALLEL = {
    "limit": STATEMENTS["limit"],
    "filter": STATEMENTS["filter"],
    "join": f"""
        SELECT planned.id, planned.emb <#> '{QUERY}' AS d FROM planned JOIN asked ON asked.id = planned.n
        ORDER BY planned.emb <#> '{QUERY}' LIMIT 50
    """,
    "null": "SELECT count(*), sum(id) FROM planned WHERE emb IS NULL",
}


@pytest.mark.parametrize("name", PARALLEL)
def test_a_worker_that_runs_the_whole_statement(planned, name):
    forced = "debug_parallel_query" if planned.info.server_version >= 160000 else "force_parallel_mode"
    planned.execute("UPDATE planned SET emb = NULL WHERE id % 300 = 7")
    planned.execute(f"SET {forced} = on; SET max_parallel_workers_per_gather = 2; SET enable_bitmapscan = off")
    planned.execute(BY_INDEX)
    assert "Gather" in plan(planned, PARALLEL[name])
    found, exact = both_ways(planned, PARALLEL[name], "planned_emb")
    assert found == exact
    assert len(found) > 0


def test_workers_that_each_scan_for_rows_of_their_own(planned):
    """By way of a function: what takes a value from the row around it the server runs in no worker otherwise."""
    planned.execute("""
        CREATE FUNCTION nearest(query mrlvec, place int) RETURNS double precision LANGUAGE plpgsql STABLE PARALLEL SAFE AS
        $$ BEGIN RETURN (SELECT emb <#> query FROM planned ORDER BY emb <#> query LIMIT 1 OFFSET place); END $$
    """)
    planned.execute("CREATE TABLE many AS SELECT a * 20 + b.id AS id, b.emb FROM generate_series(0, 9) a, asked b; ANALYZE many")
    planned.execute(
        "SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; "
        "SET max_parallel_workers_per_gather = 2; SET parallel_leader_participation = off"
    )
    statement = "SELECT count(*), round(sum(nearest(emb, 0))::numeric, 6), round(sum(nearest(emb, 7))::numeric, 6) FROM many"
    planned.execute("SET enable_indexscan = on; SET enable_sort = off")
    shown = plan(planned, statement)
    assert "Partial Aggregate" in shown and "Parallel Seq Scan on many" in shown, shown
    found = planned.execute(statement).fetchall()
    planned.execute(BY_TABLE)
    assert planned.execute(statement).fetchall() == found
    planned.execute("DROP TABLE many; DROP FUNCTION nearest")


def test_a_cursor_moves_both_ways(planned):
    """The access method goes forward only: the server keeps what it has read."""
    ask = f"SELECT id, emb <#> '{QUERY}' FROM planned WHERE n < 6 ORDER BY emb <#> '{QUERY}', id"
    expected = planned.execute(ask).fetchall()
    planned.execute(BY_INDEX)
    planned.execute("BEGIN")
    # The ties among the repeated vectors have no order of their own: distances are compared.
    planned.execute(f"DECLARE c SCROLL CURSOR FOR {ask.removesuffix(', id')}")
    distances = [distance for _, distance in expected]

    def fetch(how):
        return [distance for _, distance in planned.execute(f"FETCH {how} FROM c").fetchall()]

    assert fetch("FORWARD 50") == distances[:50]
    assert fetch("BACKWARD 20") == distances[29:49][::-1]
    assert fetch("ABSOLUTE 200") == distances[199:200]
    assert fetch("RELATIVE -150") == distances[49:50]
    assert fetch("LAST") == distances[-1:]
    assert fetch("FORWARD 1") == []
    assert fetch("BACKWARD ALL") == distances[::-1]
    assert fetch("FIRST") == distances[:1]
    planned.execute("MOVE FORWARD 1000 FROM c")
    assert fetch("PRIOR") == distances[999:1000]
    planned.execute("COMMIT")


@pytest.mark.parametrize("settings", [EXACT, "SET mrl.iterative_scan = strict_order"])
def test_a_merge_join_on_distances(planned, settings):
    """It relies on the order, and goes back among equal distances, of which there are 20 a side."""
    planned.execute("RESET mrl.probes; RESET mrl.epsilon")
    planned.execute(settings)
    planned.execute(f"CREATE TEMPORARY TABLE distances AS SELECT id, emb <#> '{QUERY}' AS d FROM planned")
    planned.execute("CREATE INDEX ON distances (d); ANALYZE distances")
    inner = f"SELECT id, emb <#> '{QUERY}' AS d FROM planned ORDER BY emb <#> '{QUERY}' LIMIT 3000"
    planned.execute(BY_INDEX)
    rows = planned.execute(inner).fetchall()
    partners = planned.execute("SELECT id, d FROM distances").fetchall()
    expected = sorted((a, b) for a, d in rows for b, other in partners if d == other)
    # In strict order the equal ones may be among those that are left out, all or none.
    assert len(expected) > len(rows) + 300 or settings != EXACT
    planned.execute("SET enable_hashjoin = off; SET enable_nestloop = off")
    statement = f"SELECT a.id, b.id FROM ({inner}) a JOIN distances b ON a.d = b.d"
    shown = plan(planned, statement)
    assert "Merge Join" in shown and "planned_emb" in shown, shown
    assert sorted(planned.execute(statement).fetchall()) == expected
    # By the index on both sides: one of them is gone back in, of which the server keeps what it may need again.
    if settings == EXACT:
        every = inner.replace(" LIMIT 3000", " OFFSET 0")
        statement = f"SELECT a.id, b.id FROM ({every}) a JOIN ({every}) b ON a.d = b.d"
        shown = plan(planned, statement)
        assert "Merge Join" in shown and "Materialize" in shown and shown.count("using planned_emb") == 2, shown
        found = sorted(planned.execute(statement).fetchall())
        planned.execute("RESET enable_hashjoin; RESET enable_nestloop; SET enable_mergejoin = off")
        planned.execute(BY_TABLE)
        shown = plan(planned, statement)
        assert "Merge Join" not in shown and "planned_emb" not in shown, shown
        assert found == sorted(planned.execute(statement).fetchall())


def test_settings_of_scans_are_shown_with_a_plan(connection):
    # Which loads the library.
    connection.execute("SELECT '[1]'::mrlvec")
    connection.execute("SET mrl.probes = 'ALL'; SET mrl.epsilon = 'Exact'; SET mrl.max_scan_tuples = 7")
    shown = connection.execute("EXPLAIN (SETTINGS) SELECT 1").fetchall()[-1][0]
    for setting in ["mrl.probes = 'ALL'", "mrl.epsilon = 'Exact'", "mrl.max_scan_tuples = '7'"]:
        assert setting in shown, shown
