"""The measures that go through SQL. Each function is one, and says what it stands for."""

import argparse
import statistics
from pathlib import Path

import numpy as np

from harness import (
    ROUNDS,
    Result,
    client_milliseconds,
    connect,
    has_pgvector,
    machine,
    paired,
    print_results,
    quantile,
    server_milliseconds,
)

SUBJECTS = ["a dog", "the old town", "my landlord", "an engineer", "the river", "our database", "a child"]
VERBS = ["was born in", "broke down near", "asks about", "grows beside", "has to pay for", "looks like"]
OBJECTS = ["the station", "a small kitchen", "the north of Italy", "seven invoices", "cold weather"]


def queries(count, salt=""):
    """Different texts of some eight words."""
    return [
        f"{SUBJECTS[i % 7]} {VERBS[i % 6]} {OBJECTS[i % 5]} {i}{salt}" for i in range(count)
    ]


def sequential_scan(connection, rows, pgvector):
    """`ORDER BY emb <#> $1 LIMIT 10` over 384 dimensions, everything in shared buffers."""
    types = ["mrlvec", *(["halfvec"] if pgvector else [])]
    connection.execute("SELECT setseed(0.5)")
    connection.execute("CREATE TABLE made (id int, emb mrlvec(384))")
    components = np.random.default_rng(7).standard_normal((rows, 384)).astype(np.float32)
    components /= np.linalg.norm(components, axis=1, keepdims=True)
    binary = components.astype(">f2")
    header = np.array([384, 0], ">u2").tobytes()
    with connection.cursor().copy("COPY made FROM STDIN (FORMAT binary)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        for i in range(rows):
            value = header + binary[i].tobytes()
            copy.write(
                b"\0\x02\0\0\0\x04" + i.to_bytes(4, "big") + len(value).to_bytes(4, "big") + value
            )
        copy.write(b"\xff\xff")
    for name in types:
        connection.execute(f"CREATE TABLE scan_{name} (id int, emb {name}(384))")
        connection.execute(f"INSERT INTO scan_{name} SELECT id, emb::{name}(384) FROM made ORDER BY id")
        connection.execute(f"VACUUM (FREEZE, ANALYZE) scan_{name}")
        for operator, word in [("<#>", "ip"), ("<=>", "cosine")]:
            connection.execute(
                f"PREPARE {word}_{name}({name}) AS SELECT id FROM scan_{name} ORDER BY emb {operator} $1 LIMIT 10"
            )
    connection.execute("DROP TABLE made")
    query = "[" + ",".join(str(x) for x in np.sin(np.arange(384)) / 13.8) + "]"
    results = []
    for word, operator, bar in [("ip", "<#>", "≤ 1.00"), ("cosine", "<=>", "")]:
        calls = [
            lambda name=name, word=word: server_milliseconds(connection, f"EXECUTE {word}_{name}('{query}')")
            for name in types
        ]
        ours, other = paired(calls[0], calls[-1])
        results.append(compared(f"scan of {rows:,} × 384, {operator}", "ms", ours, other, pgvector, bar))
    short = "[" + ",".join(str(x) for x in np.sin(np.arange(64)) / 5.6) + "]"
    ours, other = paired(
        lambda: server_milliseconds(connection, f"EXECUTE ip_mrlvec('{short}')"), calls[0]
    )
    results.append(Result("the same, <#> with a query of 64 dimensions", f"{ours:.1f} ms"))
    return results


def compared(measure, unit, ours, other, pgvector, bar):
    if not pgvector:
        return Result(measure, f"{ours:.1f} {unit}", "not installed", "", bar)
    return Result(measure, f"{ours:.1f} {unit}", f"{other:.1f} {unit}", f"{ours / other:.2f}", bar)


def text_form(connection, rows, pgvector):
    """Reading and printing 768 numbers, in the server: the cast of a column of texts and back."""
    types = ["mrlvec", *(["halfvec"] if pgvector else [])]
    count = max(200, rows // 40)
    generator = np.random.default_rng(11)
    connection.execute("CREATE TABLE literal (id int, singles text, printed text)")
    # Uncompressed: fetching the text is part of the figures, and should be a small one.
    connection.execute("ALTER TABLE literal ALTER singles SET STORAGE external, ALTER printed SET STORAGE external")
    vectors = (generator.standard_normal((count, 768)) / 27.7).astype(np.float32)
    with connection.cursor().copy("COPY literal (id, singles) FROM STDIN") as copy:
        for i, vector in enumerate(vectors):
            copy.write_row((i, "[" + ",".join(map(str, vector)) + "]"))
    connection.execute("UPDATE literal SET printed = singles::mrlvec::text")
    results = []
    for column, words, bar in [
        ("singles", "as clients print singles", "≤ 0.50"),
        ("printed", "as the type prints them", "≤ 0.50"),
    ]:
        calls = [
            lambda name=name, column=column: server_milliseconds(
                connection, f"SELECT count({column}::{name}) FROM literal"
            )
            for name in types
        ]
        ours, other = paired(calls[0], calls[-1], 7)
        scale = 1000 / count
        measure = f"text input of 768 dimensions, {words}"
        results.append(
            compared(measure, "µs", ours * scale, other * scale, pgvector, bar)
        )
    for name in types:
        connection.execute(f"CREATE TABLE value_{name} AS SELECT singles::{name} AS emb FROM literal")
    calls = [
        lambda name=name: server_milliseconds(connection, f"SELECT count(emb::text) FROM value_{name}")
        for name in types
    ]
    ours, other = paired(calls[0], calls[-1], 7)
    results.append(
        compared("text output of 768 dimensions", "µs", ours * 1000 / count, other * 1000 / count, pgvector, "")
    )
    return results


def embedding(connection, rows, pgvector):
    """One text after loading, as the client sees it; no cache."""
    session = connect(**{"mrl.cache_size": 0})
    embed = "SELECT mrl_embed(%s, 'search_query')"
    session.execute(embed, ("load the model",))

    def times(texts):
        return [client_milliseconds(lambda text=text: session.execute(embed, (text,))) for text in texts]

    short = times(queries(200))
    long = times([" ".join(queries(25, f" {i}")) for i in range(20)])
    tokens = session.execute("SELECT mrl_tokens(%s, NULL)", (queries(1)[0],)).fetchone()[0]
    session.execute("SET mrl.cache_size = 4096")
    session.execute(embed, ("again",))
    cached = times(["again"] * 200)
    return [
        Result(
            f"one query text ({tokens} tokens), p50 / p95",
            f"{quantile(short, 0.5):.1f} / {quantile(short, 0.95):.1f} ms",
            bar="≤ 25 ms",
        ),
        Result("one text of 256 tokens, p50", f"{quantile(long, 0.5):.1f} ms"),
        Result("the same text again, p50 (cache)", f"{quantile(cached, 0.5):.2f} ms"),
    ]


def loading(connection, rows, pgvector):
    """The first embedding of a new session, less a later one."""
    seconds = []
    for _ in range(7):
        session = connect()
        first = client_milliseconds(lambda: session.execute("SELECT mrl_embed('first', NULL)"))
        second = client_milliseconds(lambda: session.execute("SELECT mrl_embed('other', NULL)"))
        seconds.append((first - second) / 1000)
        session.close()
    return [Result("loading the model", f"{statistics.median(seconds):.2f} s", bar="≤ 1.5 s")]


def idle_session(connection, rows, pgvector):
    """Private memory of a session that uses the type but never embeds, against one that does
    nothing, and after an embedding. Needs a server on this machine."""

    def private_kilobytes(session):
        status = Path(f"/proc/{session.info.backend_pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])

    plain, using = connect(), connect()
    using.execute("SELECT '[1,2,3]'::mrlvec <#> '[1,2,3]'")
    plain.execute("SELECT '{1,2,3}'::float8[] = '{1,2,3}'")
    before = private_kilobytes(using)
    extra = before - private_kilobytes(plain)
    using.execute("SELECT mrl_embed('text', NULL)")
    return [
        Result("private memory of a session that never embeds, above a plain one", f"{extra} kB", bar="no model"),
        Result("after the first embedding", f"{(private_kilobytes(using) - before) // 1024} MB"),
    ]


def cancelling(connection, rows, pgvector):
    """From the time-out to the error, at moments all over an embedding of long texts."""
    session = connect()
    session.execute("SELECT mrl_embed('load', NULL)")
    work = "SELECT mrl_embed((SELECT array_agg(i || repeat(' word', 250)) FROM generate_series(1, 1000) i), NULL)"
    late = []
    for i in range(40):
        timeout = 100 + 7 * i
        session.execute(f"SET statement_timeout = {timeout}")

        def run():
            try:
                session.execute(work)
            except Exception as error:
                assert "statement timeout" in str(error), error

        late.append(client_milliseconds(run) - timeout)
    return [Result("from a time-out to its error, median / worst of 40", f"{statistics.median(late):.0f} / {max(late):.0f} ms", bar="≤ 250 ms")]


MEASURES = [sequential_scan, text_form, embedding, loading, idle_session, cancelling]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("measures", nargs="*", choices=[[], *[m.__name__ for m in MEASURES]])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    connection = connect()
    connection.execute("CREATE EXTENSION pg_mrl")
    pgvector = has_pgvector(connection)
    if pgvector:
        connection.execute("CREATE EXTENSION vector; CREATE EXTENSION pg_mrl_pgvector")
    header = [*machine(connection), f"median of {ROUNDS} rounds, taking turns where two are compared"]
    results = []
    for measure in MEASURES:
        if not arguments.measures or measure.__name__ in arguments.measures:
            results += measure(connection, arguments.rows, pgvector)
    print_results(header, results, arguments.markdown)


if __name__ == "__main__":
    main()
