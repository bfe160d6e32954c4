"""The type through psycopg 3: both forms round-trip, and every operator, cast and function gives
what 64-bit arithmetic gives, for random vectors of 1 to 16,000 dimensions.

How far a distance may be off: the kernels add n products in at least 32 separate sums of 24 bits, so
the error is at most (n / 32 + 12) · 2^-24 times the sum of the products' magnitudes; see the crate
mrl-kernels. Where a result is a half, it has to be the half nearest to the exact value.
"""

from decimal import Decimal

import numpy as np
import psycopg
import pytest
from vectors import MOST_DIMENSIONS, MrlVec, random_dimensions, random_vector, register

CASES = 150


@pytest.fixture
def session(connection):
    register(connection)
    return connection


def bound(magnitude, dimensions):
    return (dimensions / 32 + 12) * 2.0**-24 * magnitude + 1e-300


def pairs(seed, cases=CASES, same_length=True):
    generator = np.random.default_rng(seed)
    for _ in range(cases):
        dimensions = random_dimensions(generator)
        other = dimensions if same_length else random_dimensions(generator)
        yield random_vector(generator, dimensions), random_vector(generator, other)


def exact(vector):
    return vector.astype(np.float64)


def truncated(vector, dimensions):
    """The k-prefix, scaled to length 1 if it is cut."""
    prefix = exact(vector)[:dimensions]
    norm = np.linalg.norm(prefix)
    return prefix / norm if dimensions < len(vector) and norm > 0 else prefix


def to_half(values):
    """Rounded once, ties to even: numpy converts singles and doubles to halfs so."""
    with np.errstate(over="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.float16)


@pytest.mark.parametrize("binary_parameter", [False, True])
@pytest.mark.parametrize("binary_result", [False, True])
def test_round_trip(session, binary_parameter, binary_result):
    placeholder = "%b" if binary_parameter else "%t"
    generator = np.random.default_rng(1)
    for dimensions in [1, 2, 3, 384, 768, MOST_DIMENSIONS]:
        sent = MrlVec(random_vector(generator, dimensions))
        statement = f"SELECT {placeholder}::mrlvec"
        row = session.execute(statement, (sent,), binary=binary_result).fetchone()
        assert row[0] == sent
    all_halfs = np.arange(0x10000, dtype=np.uint32).astype(np.uint16).view(np.float16)
    finite = all_halfs[np.isfinite(all_halfs)]
    for part in np.array_split(finite, 4):
        sent = MrlVec(part)
        assert session.execute(statement, (sent,), binary=binary_result).fetchone()[0] == sent


def test_arrays_copy_and_executemany(session):
    generator = np.random.default_rng(2)
    sent = [MrlVec(random_vector(generator, random_dimensions(generator))) for _ in range(40)]
    for binary in (False, True):
        row = session.execute("SELECT %s::mrlvec[]", (sent,), binary=binary).fetchone()
        assert row[0] == sent
    session.execute("CREATE TEMPORARY TABLE item (id int, v mrlvec)")
    cursor = session.cursor()
    cursor.executemany("INSERT INTO item VALUES (%s, %b)", list(enumerate(sent)))
    for form in ("text", "binary"):
        with cursor.copy(f"COPY item FROM STDIN (FORMAT {form})") as copy:
            copy.set_types(["int4", "mrlvec"])
            for id, vector in enumerate(sent):
                copy.write_row((id, vector))
        with cursor.copy(f"COPY (SELECT v FROM item ORDER BY id) TO STDOUT (FORMAT {form})") as copy:
            copy.set_types(["mrlvec"])
            found = [row[0] for row in copy.rows()]
        assert len(found) % len(sent) == 0 and found[:: len(found) // len(sent)] == sent


def test_inner_product_and_cosine_at_the_shared_prefix(session):
    statement = """
        SELECT %b::mrlvec <#> %b, %b::mrlvec <=> %b, inner_product(%b::mrlvec, %b), cosine_distance(%b::mrlvec, %b)
    """
    for a, b in [*pairs(3), *pairs(4, same_length=False)]:
        shared = min(len(a), len(b))
        left, right = truncated(a, shared), truncated(b, shared)
        product = left @ right
        allowed = bound(np.abs(left * right).sum(), shared) + abs(product) * bound(1, shared)
        row = session.execute(statement, (MrlVec(a), MrlVec(b)) * 4).fetchone()
        assert abs(-row[0] - product) <= allowed
        assert abs(row[2] - product) <= allowed
        norms = np.linalg.norm(left) * np.linalg.norm(right)
        if norms == 0:
            assert np.isnan(row[1]) and np.isnan(row[3])
        else:
            allowed = 2 * bound(np.abs(left * right).sum() / norms + 1, shared)
            assert abs(row[1] - (1 - product / norms)) <= allowed
            assert row[1] == row[3]


def test_euclidean_and_taxicab_distance(session):
    statement = """
        SELECT %b::mrlvec <-> %b, %b::mrlvec <+> %b, l2_distance(%b::mrlvec, %b), l1_distance(%b::mrlvec, %b)
    """
    for a, b in pairs(5):
        difference = exact(a) - exact(b)
        row = session.execute(statement, (MrlVec(a), MrlVec(b)) * 4).fetchone()
        euclidean = np.linalg.norm(difference)
        # A difference of two halfs may itself be rounded to a single.
        assert abs(row[0] - euclidean) <= bound(euclidean, len(a)) * 2
        taxicab = np.abs(difference).sum()
        assert abs(row[1] - taxicab) <= bound(taxicab, len(a)) * 2
        assert row[2:] == row[:2]


def test_stored_signs(session):
    statement = """
        SELECT %b::mrlvec <#> (%b::mrlvec)::varbit::bit({n}), (%b::mrlvec)::varbit::bit({n}) <#> %b::mrlvec,
               sign_hamming_distance(%b::mrlvec, %b)
    """
    for a, b in pairs(6, 60, same_length=False):
        shared = min(len(a), len(b))
        vector = truncated(a, shared)
        signs = np.where(exact(b)[:shared] > 0, 1.0, -1.0) / np.sqrt(shared)
        expected = -(vector @ signs)
        allowed = bound(np.abs(vector * signs).sum(), shared) + abs(expected) * bound(1, shared)
        first, second = MrlVec(a), MrlVec(b)
        parameters = (first, second, second, first, first, second)
        row = session.execute(statement.format(n=len(b)), parameters).fetchone()
        assert abs(row[0] - expected) <= allowed
        assert row[0] == row[1]
        assert row[2] == np.sum((a[:shared] > 0) != (b[:shared] > 0))


def test_arithmetic(session):
    statement = "SELECT %b::mrlvec + %b, %b::mrlvec - %b, (%b::mrlvec || %b)::float8[]"
    for a, b in pairs(7):
        if len(a) + len(b) > MOST_DIMENSIONS:
            continue
        row = session.execute(statement, (MrlVec(a), MrlVec(b)) * 3, binary=True).fetchone()
        assert np.array_equal(row[0].components, to_half(exact(a) + exact(b)))
        assert np.array_equal(row[1].components, to_half(exact(a) - exact(b)))
        assert np.array_equal(row[2], np.concatenate([exact(a), exact(b)]))


def test_products_underflow_or_are_the_nearest_halfs(session):
    for a, b in pairs(8):
        expected = to_half(exact(a) * exact(b))
        lost = (expected == 0) & (a != 0) & (b != 0)
        call = lambda a=a, b=b: session.execute("SELECT %b::mrlvec * %b", (MrlVec(a), MrlVec(b)), binary=True)
        if lost.any():
            with pytest.raises(psycopg.errors.NumericValueOutOfRange, match="underflow"):
                call()
        else:
            assert np.array_equal(call().fetchone()[0].components, expected)


def test_functions(session):
    statement = """
        SELECT l2_norm(%b::mrlvec), vector_dims(%b::mrlvec), l2_normalize(%b::mrlvec), subvector(%b::mrlvec, {start}, {count}),
               binary_quantize(%b::mrlvec)::text, (%b::mrlvec)::bit({n})::text, (%b::mrlvec)::varbit::text, (%b::mrlvec)::mrlvec({n})
    """
    generator = np.random.default_rng(9)
    for a, _ in pairs(10, 100):
        n = int(generator.integers(1, len(a) + 1))
        start = int(generator.integers(1, len(a) + 1))
        call = statement.format(n=n, start=start, count=n)
        norm, dimensions, unit, piece, signs, n_signs, all_signs, cut = session.execute(
            call, (MrlVec(a),) * 8, binary=True
        ).fetchone()
        expected_norm = np.linalg.norm(exact(a))
        assert abs(norm - expected_norm) <= bound(expected_norm, len(a))
        assert dimensions == len(a)
        assert piece == MrlVec(a[start - 1 : start - 1 + n])
        expected_signs = "".join("1" if x > 0 else "0" for x in a)
        assert signs == all_signs == expected_signs and n_signs == expected_signs[:n]
        for found, length in [(unit, len(a)), (cut, n)]:
            prefix = exact(a)[:length]
            norm = np.linalg.norm(prefix)
            if norm == 0 or (found is cut and n == len(a)):
                assert found == MrlVec(a[:length])
                continue
            scaled = prefix / norm
            # The norm is a single: a component near the middle of two halfs may go either way.
            low = to_half(scaled * (1 - bound(1, length)))
            high = to_half(scaled * (1 + bound(1, length)))
            found = found.components
            assert np.all((found == low) | (found == high) | (found == to_half(scaled)))


@pytest.mark.parametrize("kind", ["real", "double precision", "numeric", "integer"])
def test_arrays_are_rounded_once(session, kind):
    generator = np.random.default_rng(11)
    all_bits = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    middles = (all_bits[:-1] + all_bits[1:]) / 2
    nudged = np.concatenate([middles, np.nextafter(middles, 0), np.nextafter(middles, np.inf)])
    for _ in range(12):
        values = generator.choice(nudged, int(generator.integers(1, 3000))) * generator.choice([-1, 1])
        if kind == "integer":
            values = np.round(generator.uniform(-65519, 65519, len(values)))
            sent = [int(x) for x in values]
        elif kind == "real":
            values = values.astype(np.float32).astype(np.float64)
            sent = [float(x) for x in values]
        elif kind == "numeric":
            sent = [Decimal(repr(float(x))) for x in values]
        else:
            sent = [float(x) for x in values]
        statement = f"SELECT (%s::{kind}[])::mrlvec, ((%s::{kind}[])::mrlvec)::double precision[], ((%s::{kind}[])::mrlvec)::real[]"
        vector, doubles, singles = session.execute(statement, (sent,) * 3, binary=True).fetchone()
        expected = to_half(values)
        assert np.array_equal(vector.components, expected)
        assert np.array_equal(np.array(doubles), expected.astype(np.float64))
        assert np.array_equal(np.array(singles), expected.astype(np.float64))


def test_order_is_that_of_lists_of_numbers(session):
    generator = np.random.default_rng(12)
    vectors = [random_vector(generator, int(generator.integers(1, 4)), 2.0) for _ in range(200)]
    session.execute("CREATE TEMPORARY TABLE item (v mrlvec)")
    session.cursor().executemany("INSERT INTO item VALUES (%b)", [(MrlVec(v),) for v in vectors])
    found = session.execute("SELECT v::float8[] FROM item ORDER BY v").fetchall()
    assert [list(row[0]) for row in found] == sorted([float(x) for x in v] for v in vectors)


def test_aggregates(session):
    generator = np.random.default_rng(13)
    for dimensions in [1, 3, 64, 768, 4096]:
        vectors = np.array([random_vector(generator, dimensions) for _ in range(50)])
        session.execute("CREATE TEMPORARY TABLE item (v mrlvec)")
        session.cursor().executemany("INSERT INTO item VALUES (%b)", [(MrlVec(v),) for v in vectors])
        total, mean = session.execute("SELECT sum(v), avg(v) FROM item", binary=True).fetchone()
        # Sums of 50 halfs are exact in a double.
        assert np.array_equal(total.components, to_half(vectors.astype(np.float64).sum(axis=0)))
        assert np.array_equal(mean.components, to_half(vectors.astype(np.float64).sum(axis=0) / 50))
        session.execute("DROP TABLE item")


# Every operator, cast and function, for rows (a, b) of one length and a row's own shorter c.
EXPRESSIONS = """
    a <#> b; a <=> b; a <-> b; a <+> b; a <#> c; c <=> a; a <#> s; s <#> a; a + b; a - b; a || c; a = b; a <> b; a < b; a <= b;
    a > b; a >= b; l2_norm(a); vector_dims(a); l2_normalize(a); subvector(a, 2, 5); binary_quantize(a); inner_product(a, b);
    cosine_distance(a, b); l2_distance(a, b); l1_distance(a, b); sign_hamming_distance(a, c); a::mrlvec(7); a::bit(9); a::varbit;
    a::real[]; a::float8[]; a::text; a::text::mrlvec; a::real[]::mrlvec; a * b; mrlvec_hash(a); mrlvec_hash_extended(a, 3)
""".split(";")


def test_a_parallel_plan_gives_the_same(session):
    session.execute("CREATE TEMPORARY TABLE source (id int, a mrlvec(40), b mrlvec(40), c mrlvec(13))")
    generator = np.random.default_rng(14)
    # Multiples of 1/16: no product underflows.
    vector = lambda n: MrlVec(np.round(generator.standard_normal(n) * 16) / 16)
    rows = [(i, vector(40), vector(40), vector(13)) for i in range(3000)]
    session.cursor().executemany("INSERT INTO source VALUES (%s, %b, %b, %b)", rows)
    session.execute("""
        DROP TABLE IF EXISTS item;
        CREATE TABLE item AS SELECT id, a, b, c, binary_quantize(b)::bit(40) AS s FROM source;
        ANALYZE item;
        SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
        SET parallel_leader_participation = off;
    """)
    columns = ", ".join(f"({expression.strip()})::text" for expression in EXPRESSIONS)
    # Computed by workers below the Gather, one text a row.
    statement = f"SELECT id, md5(concat_ws('|', {columns})) FROM item WHERE (a <#> b) < 1000 ORDER BY id"
    session.execute("SET max_parallel_workers_per_gather = 0")
    serial = session.execute(statement).fetchall()
    session.execute("SET max_parallel_workers_per_gather = 2")
    plan = "\n".join(row[0] for row in session.execute(f"EXPLAIN (VERBOSE, COSTS OFF) {statement}"))
    assert "Workers Planned: 2" in plan and plan.index("Gather") < plan.index("md5", plan.index("Gather"))
    assert session.execute(statement).fetchall() == serial
    session.execute("DROP TABLE item")


def test_bad_input_is_told_of_where_that_is_asked_for(connection):
    """`pg_input_is_valid` and COPY with ON_ERROR: as with the server's own types nothing is raised."""
    if connection.info.server_version < 160000:
        pytest.skip("since release 16")
    for text, type_, message, code in [
        ("[1,2]", "mrlvec", None, None),
        ("[1,2", "mrlvec", "invalid input syntax for type mrlvec", "22P02"),
        ("[1,1e9]", "mrlvec", '"1e9" is out of range for type mrlvec', "22003"),
        ("[1,2]", "mrlvec(3)", "expected 3 dimensions, not 2", "22000"),
        (f"[{'0,' * MOST_DIMENSIONS}0]", "mrlvec", "mrlvec cannot have more than 16000 dimensions", "54000"),
    ]:
        valid = connection.execute("SELECT pg_input_is_valid(%s, %s)", (text, type_)).fetchone()[0]
        assert valid == (message is None), text[:20]
        found = connection.execute(
            "SELECT message, sql_error_code FROM pg_input_error_info(%s, %s)", (text, type_)
        ).fetchone()
        assert found[1] == code and (message is None or found[0].startswith(message)), found
    if connection.info.server_version >= 170000:
        connection.execute("CREATE TEMP TABLE loaded (v mrlvec(2))")
        with connection.cursor().copy("COPY loaded FROM STDIN (ON_ERROR ignore)") as copy:
            copy.write("[1,2]\n[3]\nno vector\n[4,5]\n")
        assert connection.execute("SELECT count(*) FROM loaded").fetchone()[0] == 2
