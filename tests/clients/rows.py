"""Tables with vectors for the index's tests: many rows at once, the same ones every time."""

import numpy as np

# What COPY BINARY begins and ends with.
HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
# By the index, or by a sequential scan. The two must not differ where the scan is exact.
BY_INDEX = "SET enable_indexscan = on; SET enable_seqscan = off; SET enable_sort = off"
BY_TABLE = "SET enable_indexscan = off; SET enable_seqscan = on; SET enable_sort = on"
EXACT = "SET mrl.probes = 'all'; SET mrl.epsilon = 'exact'"


def clustered(count, dimensions, seed, spread=0.7):
    """Vectors of length 1 around 20 centres."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((20, dimensions))
    rows = centres[generator.integers(20, size=count)] + spread * generator.standard_normal((count, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def literal(vector):
    return "[" + ",".join(f"{x:.4f}" for x in vector) + "]"


def fill(connection, table, **columns):
    """COPY of columns of integers (int) and of one of vectors (an array of two dimensions)."""
    fields = [("fields", ">i2")]
    for name, values in columns.items():
        fields.append((f"{name}_bytes", ">i4"))
        if values.ndim == 1:
            fields.append((name, ">i4"))
        else:
            fields += [(f"{name}_header", ">u2", 2), (name, ">f2", values.shape[1])]
    rows = np.zeros(len(next(iter(columns.values()))), fields)
    rows["fields"] = len(columns)
    for name, values in columns.items():
        rows[name] = values
        rows[f"{name}_bytes"] = 4 if values.ndim == 1 else 4 + 2 * values.shape[1]
        if values.ndim == 2:
            rows[f"{name}_header"] = [values.shape[1], 0]
    with connection.cursor().copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN BINARY") as copy:
        copy.write(HEADER + rows.tobytes() + TRAILER)


def problems(connection, index):
    """What the index's own check finds, the rows of the table included."""
    return [row[0] for row in connection.execute(f"SELECT * FROM mrl_index_check('{index}', true)").fetchall()]


def plan(connection, statement):
    return "\n".join(line for (line,) in connection.execute(f"EXPLAIN (COSTS OFF) {statement}").fetchall())


def both_ways(connection, statement, index):
    """A statement's rows by the index, whose plan is looked at, and by the table alone."""
    connection.execute(BY_INDEX)
    shown = plan(connection, statement)
    assert index in shown, shown
    by_index = connection.execute(statement).fetchall()
    connection.execute(BY_TABLE)
    shown = plan(connection, statement)
    assert index not in shown, shown
    by_table = connection.execute(statement).fetchall()
    return by_index, by_table
