"""Missing, damaged and hostile model files: an error that names the file, and a session that goes on.

What each kind of damage does within the encoder is tested in its crate; here: each file once, the
SQLSTATE, and that no damage of one model touches another.
"""

import json
import os
import shutil
import struct
import time
from pathlib import Path

import psycopg
import pytest

INSTALLED = Path(os.environ["MRL_TEST_MODEL_DIR"])
GOOD = "all-MiniLM-L6-v2"
# Under another name than a supported model's no manifest of ours fills in for a file.
DAMAGED = "damaged"
REQUIRED = ["config.json", "tokenizer.json", "model.safetensors"]
OPTIONAL = [
    "modules.json",
    "1_Pooling/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
]


@pytest.fixture
def models(connection):
    """A folder of models of the test's own, in use by the server: a good one and a copy to damage."""
    folder = Path(os.environ["PGDATA"]).parent / "models"
    shutil.rmtree(folder, ignore_errors=True)
    for name in (GOOD, DAMAGED):
        for file in REQUIRED + OPTIONAL:
            target = folder / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if file == "model.safetensors":
                os.link(INSTALLED / GOOD / file, target)
            else:
                shutil.copyfile(INSTALLED / GOOD / file, target)
    use_models(connection, folder)
    yield folder
    use_models(connection, None)
    shutil.rmtree(folder)


def use_models(connection, folder):
    """Changes mrl.model_dir in the configuration, and waits until sessions see it."""
    connection.execute("LOAD 'pg_mrl'")
    former = connection.execute("SHOW mrl.model_dir").fetchone()
    if folder is None:
        connection.execute("ALTER SYSTEM RESET mrl.model_dir")
    else:
        connection.execute(f"ALTER SYSTEM SET mrl.model_dir = '{folder}'")
    connection.execute("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 30
    while connection.execute("SHOW mrl.model_dir").fetchone() == former:
        assert time.monotonic() < deadline


def replace(path, content):
    """Puts other content in a file's place: the file may be a link to the installed one."""
    path.unlink()
    path.write_bytes(content)


def refused(connection, code, *words, model=DAMAGED):
    """Asks for an embedding, expects the error, and sees that the session still embeds."""
    with pytest.raises(psycopg.Error) as caught:
        connection.execute("SELECT mrl_embed('text', NULL, NULL, %s)", (model,))
    assert caught.value.sqlstate == code, caught.value
    message = str(caught.value)
    for word in words:
        assert word in message
    assert works(connection, GOOD)


def works(connection, model):
    statement = "SELECT vector_dims(mrl_embed('text', NULL, NULL, %s))"
    return connection.execute(statement, (model,)).fetchone() == (384,)


def test_an_undamaged_copy_works(connection, models):
    assert works(connection, DAMAGED)


@pytest.mark.parametrize("file", REQUIRED + OPTIONAL)
def test_missing_file(connection, models, file):
    (models / DAMAGED / file).unlink()
    if file == "config.json":
        refused(connection, "22023", 'model "damaged" is not installed', f'"{GOOD}"')
    elif file in REQUIRED:
        refused(connection, "58000", f'model "damaged" lacks the file "{file}"')
    elif file == "1_Pooling/config.json":
        # modules.json names it.
        refused(connection, "58000", file)
    else:
        assert works(connection, DAMAGED)


@pytest.mark.parametrize("file", REQUIRED + OPTIONAL)
@pytest.mark.parametrize("damage", ["empty", "half", "noise", "no object"])
def test_damaged_file(connection, models, file, damage):
    path = models / DAMAGED / file
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "half": content[: len(content) // 2],
        "noise": bytes((17 * i * i + 5 * i) % 251 for i in range(4096)),
        "no object": b"[1, 2, 3]",
    }[damage]
    replace(path, damaged)
    refused(connection, "58000", f'"{file}"', '"damaged"', "corrupt")


@pytest.mark.parametrize("file", REQUIRED)
def test_what_is_no_file_of_the_model(connection, models, file):
    path = models / DAMAGED / file
    content = path.read_bytes()
    outside = models.parent / "outside"
    outside.write_bytes(content)
    path.unlink()
    try:
        path.symlink_to(outside)
        refused(connection, "58000", f'"{file}"', "leads out of the model directory")
        path.unlink()
        path.symlink_to("/dev/zero")
        refused(connection, "22023" if file == "config.json" else "58000")
        path.unlink()
        # Opening a pipe would wait for a writer.
        os.mkfifo(path)
        refused(connection, "22023" if file == "config.json" else "58000")
        path.unlink()
        path.mkdir()
        refused(connection, "22023" if file == "config.json" else "58000")
        path.rmdir()
        # A link within the directory of models is what hub caches make.
        path.symlink_to(models / GOOD / file)
        assert works(connection, DAMAGED)
    finally:
        outside.unlink()


def test_a_model_directory_that_is_not_there(connection, models):
    use_models(connection, models / "nowhere")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is not installed"):
        connection.execute("SELECT mrl_embed('text', NULL, NULL, %s)", (GOOD,))
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no embedding model is installed"):
        connection.execute("SELECT mrl_embed('text', NULL)")
    assert connection.execute("SELECT count(*) FROM mrl_models()").fetchone() == (0,)
    use_models(connection, models)
    assert works(connection, GOOD)


def test_several_models_and_no_default(connection, models):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="none is the default") as caught:
        connection.execute("SELECT mrl_embed('text', NULL)")
    assert f'"{GOOD}", "{DAMAGED}"' in str(caught.value)
    connection.execute(f"SET mrl.default_model = '{DAMAGED}'")
    default = "SELECT name FROM mrl_models() WHERE is_default"
    assert connection.execute(default).fetchall() == [(DAMAGED,)]
    assert connection.execute("SELECT vector_dims(mrl_embed('text', NULL))").fetchone() == (384,)
    connection.execute("RESET mrl.default_model")


def test_models_with_a_problem_are_listed_with_it(connection, models):
    replace(models / DAMAGED / "config.json", b"{}")
    rows = connection.execute("SELECT name, dimensions, problem FROM mrl_models()").fetchall()
    assert rows[0] == (GOOD, 384, None)
    assert rows[1][:2] == (DAMAGED, None) and '"config.json"' in rows[1][2]


def edited_weights(content, edit):
    """A file of weights whose header went through `edit`; the tensors stay."""
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    edit(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def reshape(header):
    header["embeddings.LayerNorm.weight"]["shape"] = [192, 2]


def rename(header):
    header["another.weight"] = header.pop("embeddings.LayerNorm.weight")


def retype(header):
    header["embeddings.LayerNorm.weight"].update(dtype="I32")


def overlap(header):
    header["embeddings.LayerNorm.weight"]["data_offsets"] = [0, 1536]


def overflow(header):
    header["embeddings.LayerNorm.weight"]["shape"] = [2**63, 2**63]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (reshape, ['tensor "embeddings.LayerNorm.weight"', "shape [192, 2]", "[384] is expected"]),
        (rename, ['lack tensor "embeddings.LayerNorm.weight"']),
        (retype, ["unsupported element type I32"]),
        (overlap, ["corrupt"]),
        (overflow, ["corrupt"]),
    ],
)
def test_wrong_tensors(connection, models, edit, words):
    path = models / DAMAGED / "model.safetensors"
    replace(path, edited_weights(path.read_bytes(), edit))
    refused(connection, "58000", '"damaged"', *words)


def test_weights_that_are_no_numbers(connection, models):
    path = models / DAMAGED / "model.safetensors"
    content = bytearray(path.read_bytes())
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    start = 8 + length + header["embeddings.LayerNorm.weight"]["data_offsets"][0]
    content[start : start + 4] = struct.pack("<f", float("nan"))
    replace(path, bytes(content))
    refused(connection, "58000", "not finite")


def test_a_config_that_asks_for_the_moon(connection, models):
    path = models / DAMAGED / "config.json"
    config = json.loads(path.read_text())
    for key, value in [
        ("hidden_size", 2**40),
        ("hidden_size", 0),
        ("hidden_size", -1),
        ("num_hidden_layers", 10**9),
        ("num_attention_heads", 7),
        ("vocab_size", 2**62),
        ("max_position_embeddings", 1),
        ("layer_norm_eps", "tiny"),
    ]:
        replace(path, json.dumps(config | {key: value}).encode())
        refused(connection, "58000", '"damaged"')
    replace(path, json.dumps(config | {"model_type": "gpt5"}).encode())
    refused(connection, "58000", 'unsupported architecture "gpt5"')
    replace(path, json.dumps(config | {"hidden_act": "relu"}).encode())
    refused(connection, "58000", "relu")
