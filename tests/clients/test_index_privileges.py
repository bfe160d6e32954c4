"""Who may learn what through the index: privileges, row-level security, security barriers."""

import numpy as np
import psycopg
import pytest
from rows import BY_INDEX, BY_TABLE, EXACT, clustered, fill, literal, plan

INSUFFICIENT = psycopg.errors.InsufficientPrivilege
QUERY = literal(clustered(1, 16, 2)[0])
NEAREST = f"SELECT id, tenant FROM guarded ORDER BY emb <#> '{QUERY}' LIMIT 10"


@pytest.fixture
def guarded(connection):
    """Rows of 100 tenants; a role that owns the table, one that may read it under a policy, one that may not."""
    connection.execute("CREATE ROLE owning; CREATE ROLE tenant LOGIN; CREATE ROLE stranger")
    connection.execute("CREATE TABLE guarded (id int PRIMARY KEY, tenant int, secret text DEFAULT 'hidden', emb mrlvec(16))")
    fill(connection, "guarded", id=np.arange(4000), tenant=np.arange(4000) % 100, emb=clustered(4000, 16, 1))
    connection.execute("CREATE INDEX guarded_emb ON guarded USING mrl (emb); ANALYZE guarded")
    connection.execute("ALTER TABLE guarded OWNER TO owning")
    yield connection
    connection.execute("RESET ROLE; RESET ALL")
    connection.execute("DROP TABLE guarded CASCADE; DROP OWNED BY owning, tenant, stranger")
    connection.execute("DROP ROLE owning, tenant, stranger")


def test_who_cannot_read_the_table_learns_nothing(guarded):
    guarded.execute("SET ROLE stranger")
    for statement in [
        NEAREST,
        "SELECT * FROM mrl_recall('guarded_emb')",
        "SELECT * FROM mrl_recall('guarded_emb', 1, 1)",
        "SELECT * FROM mrl_index_info('guarded_emb')",
        "SELECT * FROM mrl_index_lists('guarded_emb')",
        "SELECT * FROM mrl_index_check('guarded_emb')",
        "SELECT * FROM mrl_index_check('guarded_emb', true)",
        "REINDEX INDEX guarded_emb",
        "DROP INDEX guarded_emb",
        "ALTER INDEX guarded_emb SET (probes = 7)",
        "CREATE INDEX ON guarded USING mrl (emb)",
        "CREATE ACCESS METHOD mine TYPE INDEX HANDLER mrl_handler",
    ]:
        with pytest.raises(INSUFFICIENT):
            guarded.execute(statement)
    # Who is only allowed to call the functions still has to own the index.
    guarded.execute("RESET ROLE")
    guarded.execute("GRANT EXECUTE ON FUNCTION mrl_index_info(regclass), mrl_index_lists(regclass), mrl_index_check(regclass, boolean) TO stranger, owning")
    guarded.execute("SET ROLE stranger")
    for function in ["mrl_index_info", "mrl_index_lists", "mrl_index_check"]:
        with pytest.raises(INSUFFICIENT, match="must be owner of index guarded_emb"):
            guarded.execute(f"SELECT * FROM {function}('guarded_emb')")
    guarded.execute("RESET ROLE; SET ROLE owning")
    assert guarded.execute("SELECT rows FROM mrl_index_info('guarded_emb')").fetchone() == (4000,)
    assert guarded.execute("SELECT count(*) FROM mrl_index_check('guarded_emb', true)").fetchone() == (0,)
    guarded.execute("RESET ROLE")
    guarded.execute("REVOKE EXECUTE ON FUNCTION mrl_index_info(regclass), mrl_index_lists(regclass), mrl_index_check(regclass, boolean) FROM stranger, owning")


def test_a_check_runs_what_the_owner_wrote_as_the_owner(guarded):
    """An expression of an index is its owner's: whoever has the index checked must not lend it their rights."""
    guarded.execute("GRANT CREATE ON SCHEMA public TO owning; SET ROLE owning")
    guarded.execute("""
        CREATE TABLE ran_as (who text);
        CREATE FUNCTION rows_of_others(v mrlvec) RETURNS mrlvec IMMUTABLE LANGUAGE plpgsql AS
            $$ BEGIN IF current_user <> 'owning' THEN RAISE 'ran as %', current_user; END IF; RETURN v; END $$;
        CREATE INDEX trap ON guarded USING mrl ((rows_of_others(emb)::mrlvec(16)));
        CREATE INDEX trap_too ON guarded USING mrl (emb) WHERE rows_of_others(emb) IS NOT NULL""")
    guarded.execute("RESET ROLE")
    for index in ["trap", "trap_too"]:
        assert guarded.execute(f"SELECT * FROM mrl_index_check('{index}', true)").fetchall() == []
        assert guarded.execute("SELECT current_user = session_user").fetchone() == (True,)
    guarded.execute("DROP TABLE ran_as; DROP FUNCTION rows_of_others CASCADE; REVOKE CREATE ON SCHEMA public FROM owning")


def test_what_a_scan_did_is_told_to_who_ran_it_and_sees_all_rows(policy):
    policy.execute("RESET ROLE")
    policy.execute(BY_INDEX)
    policy.execute(NEAREST)
    assert policy.execute("SELECT rows_returned FROM mrl_scan_stats()").fetchall() == [(10,)]
    policy.execute("SET ROLE tenant")
    assert policy.execute("SELECT * FROM mrl_scan_stats()").fetchall() == []
    policy.execute(NEAREST)
    assert policy.execute("SELECT * FROM mrl_scan_stats()").fetchall() == []
    policy.execute("RESET ROLE; ALTER TABLE guarded DISABLE ROW LEVEL SECURITY; SET ROLE tenant")
    policy.execute(NEAREST)
    assert policy.execute("SELECT rows_returned FROM mrl_scan_stats()").fetchall() == [(10,)]


def test_a_column_that_may_not_be_read_stays_unread(guarded):
    guarded.execute("GRANT SELECT (id, tenant) ON guarded TO tenant")
    guarded.execute("SET ROLE tenant")
    assert guarded.execute("SELECT count(*) FROM (SELECT id FROM guarded LIMIT 5) s").fetchone() == (5,)
    for statement in [NEAREST, "SELECT * FROM mrl_recall('guarded_emb')"]:
        with pytest.raises(INSUFFICIENT):
            guarded.execute(statement)


@pytest.fixture
def policy(guarded):
    """Tenant 7 sees its own rows: 40 of 4,000."""
    guarded.execute("ALTER TABLE guarded ENABLE ROW LEVEL SECURITY")
    guarded.execute("CREATE POLICY own ON guarded TO tenant USING (tenant = current_setting('test.tenant')::int)")
    guarded.execute("GRANT SELECT ON guarded TO tenant")
    guarded.execute("SET test.tenant = '7'; SET ROLE tenant")
    return guarded


def test_a_policy_hides_rows_and_leaves_no_query_short(policy):
    policy.execute(BY_INDEX)
    shown = plan(policy, NEAREST)
    assert "guarded_emb" in shown and "Filter" in shown, shown
    for tenant, expected in [("7", 10), ("99", 10), ("100", 0)]:
        policy.execute(f"SET test.tenant = '{tenant}'")
        found = policy.execute(NEAREST).fetchall()
        assert len(found) == expected
        assert all(row[1] == int(tenant) for row in found)
    # Exactly the rows that the table gives.
    policy.execute(f"SET test.tenant = '7'; {EXACT}")
    found = policy.execute(NEAREST).fetchall()
    everything = policy.execute(f"SELECT count(*) FROM (SELECT id FROM guarded ORDER BY emb <#> '{QUERY}' LIMIT 5000) s")
    assert everything.fetchone() == (40,)
    policy.execute(BY_TABLE)
    assert policy.execute(NEAREST).fetchall() == found


def test_recall_is_told_of_the_rows_that_the_caller_sees(policy):
    """It samples and compares as the caller: 40 rows are there, and its queries are among them."""
    policy.execute("RESET ALL; SET test.tenant = '7'")
    recall, index, exact = policy.execute("SELECT * FROM mrl_recall('guarded_emb', 40, 10)").fetchone()
    assert 0.9 <= recall <= 1
    assert index > 0 and exact > 0
    policy.execute("SET test.tenant = '100'")
    assert policy.execute("SELECT * FROM mrl_recall('guarded_emb', 40, 10)").fetchone() == (None, None, None)


LEAK = """
    CREATE FUNCTION leak(tenant int, secret text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
    $$ BEGIN RAISE NOTICE 'saw % of %', secret, tenant; RETURN true; END $$;
    GRANT EXECUTE ON FUNCTION leak(int, text) TO tenant;
"""


def told(connection, statement):
    """The tenants whose rows a function of the caller's own was shown."""
    seen = set()

    def note(diagnostic):
        seen.add(int(diagnostic.message_primary.rsplit(" ", 1)[1]))

    connection.add_notice_handler(note)
    rows = connection.execute(statement).fetchall()
    connection.remove_notice_handler(note)
    return rows, seen


def test_a_cheap_function_of_the_callers_sees_no_hidden_row(policy):
    """The policy's condition comes first in the index's scan too, whatever the costs say."""
    policy.execute(f"RESET ROLE; {LEAK} SET ROLE tenant; {BY_INDEX}")
    statement = f"SELECT id, tenant FROM guarded WHERE leak(tenant, secret) ORDER BY emb <#> '{QUERY}' LIMIT 10"
    assert "guarded_emb" in plan(policy, statement)
    rows, seen = told(policy, statement)
    assert len(rows) == 10
    assert seen == {7}
    policy.execute("RESET ROLE; DROP FUNCTION leak")


def test_a_security_barrier_holds_back_functions_and_order(guarded):
    """A view's barrier: neither the caller's condition nor its ORDER BY is moved below the view's own."""
    guarded.execute(LEAK)
    guarded.execute("CREATE VIEW own WITH (security_barrier) AS SELECT * FROM guarded WHERE tenant = 7")
    guarded.execute("CREATE VIEW open AS SELECT * FROM guarded WHERE tenant = 7")
    guarded.execute("GRANT SELECT ON own, open TO tenant; SET ROLE tenant")
    guarded.execute(BY_INDEX)
    statement = "SELECT id, tenant FROM {view} WHERE leak(tenant, secret) ORDER BY emb <#> '" + QUERY + "' LIMIT 10"
    rows, seen = told(guarded, statement.format(view="own"))
    assert len(rows) == 10 and {tenant for _, tenant in rows} == {7}
    assert seen == {7}
    # The same view without a barrier tells: this test can fail.
    rows, seen = told(guarded, statement.format(view="open"))
    assert len(rows) == 10
    assert len(seen) > 1
    # The barrier's answer is the right one.
    guarded.execute(BY_TABLE)
    exact = guarded.execute(f"SELECT id FROM own ORDER BY emb <#> '{QUERY}' LIMIT 10").fetchall()
    guarded.execute(f"{BY_INDEX}; {EXACT}")
    assert guarded.execute(f"SELECT id FROM own ORDER BY emb <#> '{QUERY}' LIMIT 10").fetchall() == exact
    guarded.execute("RESET ROLE; DROP VIEW own, open; DROP FUNCTION leak")


def test_nothing_of_ours_is_leakproof_or_runs_as_its_owner(connection):
    """Distances read values and may fail on them: the planner must not run them on rows that a policy hides."""
    found = connection.execute("""
        SELECT proname FROM pg_proc, pg_depend, pg_extension
        WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND refobjid = pg_extension.oid
          AND extname = 'pg_mrl' AND (proleakproof OR prosecdef)
    """).fetchall()
    assert found == []
