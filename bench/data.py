"""The data sets of the index's benchmark, kept in build/bench.

minilm.npy      (a) all-MiniLM-L6-v2 embeddings, made by mrl_embed, of WordNet's glosses and of the
                descriptions in Debian's package lists, in an order drawn once
synthetic.npy   (b) 1,000,000 × 768: Zipf-sized Gaussian clusters, the leading components the stronger

`bench/data.py texts` embeds (a) against the cluster of the environment; it can be stopped and goes on
where it was. `bench/data.py synthetic` makes (b). Both are half precision, rows of length 1.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

HOME = Path(__file__).resolve().parent.parent / "build" / "bench"
TEXTS = 175_000
WORDS = 40


def glosses():
    """WordNet's glosses, from Debian's package wordnet-base."""
    folder = Path("/usr/share/wordnet")
    with tempfile.TemporaryDirectory() as scratch:
        if not folder.exists():
            subprocess.run(["apt-get", "download", "wordnet-base"], cwd=scratch, check=True, capture_output=True)
            package = next(Path(scratch).glob("wordnet-base*.deb"))
            subprocess.run(["dpkg", "-x", package, scratch], check=True)
            folder = Path(scratch) / "usr/share/wordnet"
        for part in ["noun", "verb", "adj", "adv"]:
            for line in (folder / f"data.{part}").read_text("utf-8").splitlines():
                if not line.startswith("  "):
                    yield line.partition("| ")[2].strip()


def descriptions():
    """The descriptions of Debian's packages."""
    listed = subprocess.run(["apt-cache", "dumpavail"], check=True, capture_output=True).stdout
    for paragraph in listed.decode("utf-8", "replace").split("\n\n"):
        for found in re.finditer(r"^Description(?:-en)?: (.*(?:\n .*)*)", paragraph, re.MULTILINE):
            yield re.sub(r"\s+", " ", found.group(1).replace("\n .", "\n")).strip()


def texts():
    shortened = (" ".join(text.split()[:WORDS]) for text in [*glosses(), *descriptions()])
    different = sorted(set(text for text in shortened if len(text) > 3))
    order = np.random.default_rng(2024).permutation(len(different))[:TEXTS]
    return [different[i] for i in order]


def embed():
    import psycopg

    wanted, file, part = texts(), HOME / "minilm.npy", HOME / "minilm-partial.npy"
    if file.exists():
        return
    done = np.load(part) if part.exists() else np.empty((0, 384), np.float16)
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_mrl")
        while len(done) < len(wanted):
            batch = wanted[len(done) : len(done) + 1000]
            values = connection.execute(
                "SELECT array_agg(v::real[]) FROM unnest(mrl_embed(%s::text[], 'search_document')) v", [batch]
            ).fetchone()[0]
            done = np.concatenate([done, np.array(values, np.float16)])
            np.save(part, done)
            print(len(done), flush=True)
    np.save(file, done)


def clusters(rows=1_000_000, dimensions=768, seed=7):
    """The synthetic set: rows, and the cluster of each."""
    generator = np.random.default_rng(seed)
    count = rows // 400
    scale = (1.0 + np.arange(dimensions, dtype=np.float32)) ** -0.55
    centres = generator.standard_normal((count, dimensions), np.float32) * scale
    weights = np.arange(1, count + 1) ** -0.5
    cluster = generator.choice(count, rows, p=weights / weights.sum()).astype(np.int32)
    vectors = np.empty((rows, dimensions), np.float16)
    for start in range(0, rows, 10_000):
        chosen = cluster[start : start + 10_000]
        drawn = generator.standard_normal((len(chosen), dimensions), np.float32)
        drawn = centres[chosen] + 0.7 * scale * drawn
        vectors[start : start + 10_000] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    return vectors, cluster


def synthetic():
    if (HOME / "synthetic-clusters.npy").exists():
        return
    vectors, cluster = clusters()
    np.save(HOME / "synthetic.npy", vectors)
    np.save(HOME / "synthetic-clusters.npy", cluster)


def noisy_queries(vectors, count=1000, seed=11):
    """Rows with isotropic noise of norm 0.5, scaled to length 1."""
    generator = np.random.default_rng(seed)
    queries = vectors[generator.choice(len(vectors), count, replace=False)].astype(np.float32)
    noise = generator.standard_normal(queries.shape, np.float32)
    queries += 0.5 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float16)


def load(name, rows):
    """Vectors of a set, queries, and each vector's cluster."""
    if name == "a":
        file = HOME / "minilm.npy"
        vectors = np.load(file if file.exists() else HOME / "minilm-partial.npy")
        queries, vectors = vectors[:1000], vectors[1000:][:rows]
        generator = np.random.default_rng(5)
        centres = vectors[generator.choice(len(vectors), 300, replace=False)].astype(np.float32)
        cluster = np.concatenate(
            [(block.astype(np.float32) @ centres.T).argmax(1) for block in np.array_split(vectors, 50)]
        )
    else:
        vectors = np.load(HOME / "synthetic.npy", mmap_mode="r")[:rows]
        cluster = np.load(HOME / "synthetic-clusters.npy")[:rows]
        queries = noisy_queries(vectors)
    return vectors, queries, cluster


def nearest(vectors, queries, dimensions=None, allowed=None, count=10):
    """The exact answer: ids of the rows with the greatest inner product, by the leading dimensions."""
    best = np.full((len(queries), count), -np.inf, np.float32)
    ids = np.zeros((len(queries), count), np.int64)
    asked = queries[:, :dimensions].astype(np.float32)
    chosen = np.arange(len(vectors)) if allowed is None else np.flatnonzero(allowed)
    for start in range(0, len(chosen), 20_000):
        rows = chosen[start : start + 20_000]
        block = vectors[rows][:, :dimensions].astype(np.float32)
        if dimensions:
            block /= np.linalg.norm(block, axis=1, keepdims=True)
        scores = np.concatenate([best, asked @ block.T], 1)
        numbers = np.concatenate([ids, np.broadcast_to(rows, (len(asked), len(rows)))], 1)
        order = np.argpartition(-scores, count - 1, 1)[:, :count]
        best, ids = np.take_along_axis(scores, order, 1), np.take_along_axis(numbers, order, 1)
    return [set(row[np.isfinite(b)]) for row, b in zip(ids, best, strict=True)]


def literal(vector):
    return "[" + ",".join(map(str, vector.astype(np.float32))) + "]"


if __name__ == "__main__":
    HOME.mkdir(parents=True, exist_ok=True)
    {"texts": embed, "synthetic": synthetic}[sys.argv[1]]()
