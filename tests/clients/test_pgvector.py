"""Both extensions in one schema, with pgvector itself: nothing of either becomes ambiguous.

Runs where pgvector is installed on the server that is tested; elsewhere the regression test `bridge`
shows the same with a stand-in.
"""

import psycopg
import pytest

DATABASE = "with_pgvector"
LITERALS = {
    "vector": "'[1,2,3]'",
    "halfvec": "'[1,2,3]'",
    "sparsevec": "'{1:1,2:2}/3'",
    "bit": "B'101'",
    "bit varying": "B'101'",
    "mrlvec": "'[1,2,3]'",
    "integer": "1",
    "boolean": "true",
    "double precision": "2",
    "double precision[]": "'{1,2}'",
    "real[]": "'{1,2}'",
    "integer[]": "'{1,2}'",
    "numeric[]": "'{1,2}'",
}


@pytest.fixture(scope="module")
def pgvector():
    """A database with pgvector alone, until a test adds ours."""
    with psycopg.connect(autocommit=True) as connection:
        installed = connection.execute(
            "SELECT version FROM pg_available_extension_versions WHERE name = 'vector' AND version ~ '^[0-9]' ORDER BY version DESC"
        ).fetchall()
        if not installed:
            pytest.skip("pgvector is not installed on this server")
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    with psycopg.connect(dbname=DATABASE, autocommit=True) as connection:
        newest = max((v for (v,) in installed), key=lambda v: [int(part) for part in v.split(".")])
        connection.execute(f"CREATE EXTENSION vector VERSION '{newest}'")
        connection.execute(
            "CREATE TABLE item (vector vector(3), halfvec halfvec(3), sparsevec sparsevec(3), bit bit(3))"
        )
        connection.execute(
            "INSERT INTO item VALUES ('[3,4,5]', '[3,4,5]', '{1:3,2:4,3:5}/3', B'110')"
        )
        yield connection
    with psycopg.connect(autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def objects_of(connection, extension):
    """Operators and functions of an extension, as expressions: all arguments typed, and each
    argument but one left to the server to guess, as users write them."""
    operators = connection.execute(
        """
        SELECT oprname, format_type(oprleft, NULL), format_type(oprright, NULL)
        FROM pg_operator, pg_depend, pg_extension
        WHERE classid = 'pg_operator'::regclass AND objid = pg_operator.oid AND deptype = 'e'
          AND refobjid = pg_extension.oid AND extname = %s
        """,
        (extension,),
    ).fetchall()
    functions = connection.execute(
        """
        SELECT proname, array(SELECT format_type(t, NULL) FROM unnest(proargtypes) t)
        FROM pg_proc, pg_depend, pg_extension
        WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e'
          AND refobjid = pg_extension.oid AND extname = %s AND prokind IN ('f', 'a') AND pronargs > 0
        """,
        (extension,),
    ).fetchall()
    expressions = set()
    for name, left, right in operators:
        if left not in LITERALS or right not in LITERALS:
            continue
        a, b = LITERALS[left], LITERALS[right]
        expressions |= {
            f"{a}::{left} {name} {b}::{right}",
            f"{a}::{left} {name} {b}",
            f"{a} {name} {b}::{right}",
            f"{a} {name} {b}",
        }
        if left in ("vector", "halfvec", "sparsevec", "bit"):
            expressions |= {f"{left} {name} {b}", f"{left} {name} {b}::{right}"}
    for name, arguments in functions:
        if any(kind not in LITERALS for kind in arguments):
            continue
        typed = [f"{LITERALS[kind]}::{kind}" for kind in arguments]
        expressions.add(f"{name}({', '.join(typed)})")
        expressions.add(f"{name}({', '.join(LITERALS[kind] for kind in arguments)})")
        for i in range(len(typed)):
            mixed = [LITERALS[kind] for kind in arguments]
            mixed[i] = typed[i]
            expressions.add(f"{name}({', '.join(mixed)})")
    return expressions


def answer(connection, expression):
    """What a statement gives: the value with its type, or the SQLSTATE of its error."""
    # Without bounds `bit` is one bit.
    expression = expression.replace("::bit ", "::bit(3) ").replace("::bit)", "::bit(3))").replace("::bit,", "::bit(3),")
    if expression.endswith("::bit"):
        expression += "(3)"
    try:
        return connection.execute(
            f"SELECT ({expression})::text, pg_typeof({expression})::text FROM item"
        ).fetchone()
    except psycopg.Error as error:
        return error.sqlstate


def test_what_pgvector_answers_alone_it_answers_beside_us(pgvector):
    expressions = sorted(objects_of(pgvector, "vector"))
    assert len(expressions) > 300
    alone = {expression: answer(pgvector, expression) for expression in expressions}
    # pgvector's own untyped calls that are ambiguous already stay so; the rest work.
    assert sum(isinstance(found, tuple) for found in alone.values()) > 200
    pgvector.execute("CREATE EXTENSION pg_mrl; CREATE EXTENSION pg_mrl_pgvector")
    beside = {expression: answer(pgvector, expression) for expression in expressions}
    changed = {e: (alone[e], beside[e]) for e in expressions if alone[e] != beside[e]}
    assert changed == {}


def test_ours_resolve_beside_pgvector(pgvector):
    pgvector.execute("CREATE EXTENSION IF NOT EXISTS pg_mrl; CREATE EXTENSION IF NOT EXISTS pg_mrl_pgvector")
    pgvector.execute("CREATE TABLE ours AS SELECT '[1,2,3]'::mrlvec(3) AS emb, * FROM item")
    for operator in ["<#>", "<=>", "<->", "<+>"]:
        for other, as_halfvec in [
            ("'[1,2,3]'", "'[1,2,3]'"),
            ("emb", "'[1,2,3]'"),
            ("'[1,2,4]'::halfvec", "'[1,2,4]'"),
            ("'[1,2,4]'::vector", "'[1,2,4]'"),
            ("halfvec", "halfvec"),
            ("vector", "halfvec"),
        ]:
            distance, swapped, pgvectors = pgvector.execute(
                f"""
                SELECT emb {operator} {other}, {other} {operator} emb,
                       '[1,2,3]'::halfvec {operator} {as_halfvec} FROM ours
                """
            ).fetchone()
            assert distance == swapped == pytest.approx(pgvectors, rel=1e-6, abs=1e-6)
    prepared = {"$1": "mrlvec", "$1::halfvec": "halfvec", "$1::vector": "vector"}
    for parameter, kind in prepared.items():
        pgvector.execute(f"PREPARE asked AS SELECT emb <#> {parameter} FROM ours")
        types = "SELECT parameter_types::text FROM pg_prepared_statements WHERE name = 'asked'"
        assert pgvector.execute(types).fetchone() == (f"{{{kind}}}",)
        assert pgvector.execute("EXECUTE asked('[1,1,1]')").fetchone() == (-6,)
        pgvector.execute("DEALLOCATE asked")


def test_a_column_moves_without_a_rewrite_and_keeps_its_index(pgvector):
    pgvector.execute("CREATE EXTENSION IF NOT EXISTS pg_mrl; CREATE EXTENSION IF NOT EXISTS pg_mrl_pgvector")
    pgvector.execute("""
        CREATE TABLE moved AS SELECT i AS id, ARRAY[sin(i), cos(i), 1]::real[]::halfvec(3) AS emb FROM generate_series(1, 2000) i;
        CREATE INDEX moved_hnsw ON moved USING hnsw (emb halfvec_ip_ops);
    """)
    files = "SELECT pg_relation_filenode('moved'), pg_relation_filenode('moved_hnsw')"
    before = pgvector.execute(files).fetchone()
    pgvector.execute("ALTER TABLE moved ALTER emb TYPE mrlvec(3)")
    assert pgvector.execute(files).fetchone() == before
    declared = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'moved'::regclass AND attname = 'emb'"
    assert pgvector.execute(declared).fetchone() == ("mrlvec(3)",)
    # The old index still serves whoever asks for pgvector's operator.
    pgvector.execute("SET enable_seqscan = off")
    plan = pgvector.execute(
        "EXPLAIN SELECT id FROM moved ORDER BY emb::halfvec <#> '[1,0,0]' LIMIT 1"
    ).fetchall()
    assert "moved_hnsw" in str(plan)
    pgvector.execute("RESET enable_seqscan")
