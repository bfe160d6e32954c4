"""all-MiniLM-L6-v2 through SQL against values that others published, and a reference run.

The records lie with the encoder's tests, which also check the stages before normalisation; each
names its source. Here are those of normalised vectors. A component of a mrlvec is rounded to a half
once: a relative error of at most 2^-11 on top of the record's own tolerance.
"""

import json
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).resolve().parents[2] / "crates/mrl-encoder/tests/data"
MODEL = "all-MiniLM-L6-v2"
RECORDS = [
    record
    for record in json.loads((DATA / "published.json").read_text())
    if record["model"].endswith(MODEL) and record["kind"] != "mteb"
]
HALF_ROUNDING = 2**-11


def embed(connection, text, dim=None):
    statement = "SELECT mrl_embed(%s, 'search_query', %s, %s)::float8[]"
    return np.array(connection.execute(statement, (text, dim, MODEL)).fetchone()[0])


def near(found, expected, tolerance):
    allowed = tolerance + HALF_ROUNDING * np.abs(expected)
    assert np.all(np.abs(np.asarray(found) - expected) <= allowed)


def test_the_kinds_of_records_are_those_known_here():
    assert sorted(record["kind"] for record in RECORDS) == [
        "cosines",
        "cosines",
        "full vectors",
        "mrl truncation",
        "prefix values",
        "sums",
    ]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: f"{record['kind']} {record['source']}")
def test_published_record(connection, record):
    tolerance = record["tol"]["abs"]
    match record["kind"]:
        case "prefix values":
            near(embed(connection, record["text"])[:5], np.array(record["first5"]), tolerance)
        case "sums":
            for text, expected in zip(record["texts"], record["sums"], strict=True):
                vector = embed(connection, text)
                allowed = tolerance + HALF_ROUNDING * np.abs(vector).sum()
                assert abs(vector.sum() - expected) <= allowed
        case "cosines":
            left = record.get("texts") or record["s1"]
            right = record.get("texts") or record["s2"]
            statement = "SELECT 1 - (mrl_embed(%s, NULL, NULL, %s) <=> mrl_embed(%s, NULL, NULL, %s))"
            for i, a in enumerate(left):
                for j, b in enumerate(right):
                    cosine = connection.execute(statement, (a, MODEL, b, MODEL)).fetchone()[0]
                    # Two roundings of unit vectors, whose errors are independent.
                    assert abs(cosine - record["matrix"][i][j]) <= tolerance + 2 * HALF_ROUNDING
        case "mrl truncation":
            vector = embed(connection, record["text"], record["dim"])
            near(vector, np.array(record["vector"]), tolerance)
        case "full vectors":
            # Published before normalisation: through SQL the direction is compared.
            for text, published in zip(record["texts"], record["vectors"], strict=True):
                published = np.array(published)
                cosine = embed(connection, text) @ published / np.linalg.norm(published)
                assert cosine >= record["tol"]["cosine"]


def test_the_reference_run(connection):
    reference = json.loads((DATA / "minilm_st6_f32_full.json").read_text())
    assert reference
    for text, expected in reference.items():
        near(embed(connection, text), np.array(expected), 2e-6)
