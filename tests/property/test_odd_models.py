"""Model folders with odd contents: an error that names the file, or the vectors of the model as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.odd import FILES, VALUES, with_each_key_odd
from support.tiny import save_sentence_model, write

from evalharness.errors import ModelError, UsageError
from evalharness.models.loading import open_embedder, resolve_model
from evalharness.models.options import Execution

TEXTS = ["How do ferns grow?", "a"]
SETTINGS = {"prompts": {"query": "q: "}, "default_prompt_name": "query", "similarity_fn_name": "dot"}


def made(folder: Path) -> Path:
    save_sentence_model(folder, sentence={"max_seq_length": 48, "do_lower_case": True}, settings=SETTINGS)
    write(folder / "special_tokens_map.json", {"unk_token": "[UNK]", "pad_token": "[PAD]"})
    return folder


def vectors(folder: Path) -> NDArray[np.float32]:
    return open_embedder(resolve_model(str(folder)), Execution(device="cpu")).encode(TEXTS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("models") / "odd-model")


@pytest.fixture(scope="module")
def wanted(model: Path) -> NDArray[np.float32]:
    return vectors(model)


def outcome(folder: Path, changed: Path, wanted: NDArray[np.float32], *, may_differ: bool = False) -> str:
    """What comes of a changed file; anything that is no error of ours ends the test with its traceback."""
    try:
        found = vectors(folder)
    except (ModelError, UsageError) as error:
        message = str(error)
        # what a library finds in the files is told with the folder
        assert changed.name in message or str(folder) in message or folder.name in message
        assert "Traceback" not in message
        return "refused"
    if found.shape == wanted.shape and np.allclose(found, wanted, atol=1e-6):
        return "same"
    assert may_differ, f"other vectors without a word: {changed.name}: {changed.read_bytes()[:200]!r}"
    return "another model"


NAMES = [
    "config.json", "modules.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json",
]  # fmt: skip


@pytest.fixture
def folder(model: Path) -> Iterator[Path]:
    """The model, put right again after each test."""
    kept = {name: (model / name).read_bytes() for name in NAMES}
    yield model
    for name, content in kept.items():
        (model / name).write_bytes(content)


@pytest.mark.parametrize("name", NAMES)
def test_files_of_odd_contents(folder: Path, wanted: NDArray[np.float32], name: str) -> None:
    results = set()
    for content in FILES.values():
        (folder / name).write_bytes(content)
        # an object without known keys says nothing: without prompts, lengths or lower case, it is another model
        silent = content.startswith(b"{") and name in NAMES[3:7]
        results.add(outcome(folder, folder / name, wanted, may_differ=silent))
    assert "refused" in results


def kind(value: object) -> str:
    """JSON's kinds."""
    if isinstance(value, bool) or value is None:
        return str(value is None) + "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


# a tokenizer without these is one, too, and so is a model without these settings
MAY_LACK = {
    "tokenizer.json": (
        "normalizer",
        "pre_tokenizer",
        "post_processor",
        "truncation",
        "padding",
        "decoder",
        "added_tokens",
    ),
    "sentence_bert_config.json": ("max_seq_length", "do_lower_case"),
    "config_sentence_transformers.json": ("prompts", "default_prompt_name", "similarity_fn_name"),
    "tokenizer_config.json": (
        "model_max_length",
        "tokenizer_class",
        "unk_token",
        "pad_token",
        "cls_token",
        "sep_token",
    ),
}


# as wrong as 9000, of which a model would take half a minute to make
SMALLER = {"num_hidden_layers": 5, "hidden_size": 64}


def odd_entries(entry: Mapping[str, object]) -> list[dict[str, object]]:
    found = with_each_key_odd(entry)
    for key, number in SMALLER.items():
        if key in entry:
            found[f"{key} is number"][key] = number
    return list(found.values())


@pytest.mark.parametrize("name", NAMES)
def test_files_with_a_key_gone_or_of_another_kind(folder: Path, wanted: NDArray[np.float32], name: str) -> None:
    whole = json.loads((folder / name).read_bytes())
    entry = whole[0] if isinstance(whole, list) else whole
    results = []
    for changed in odd_entries(entry):
        write(folder / name, [changed, *whole[1:]] if isinstance(whole, list) else changed)
        (key,) = [key for key in entry if key not in changed or changed[key] != entry[key]] or [""]
        lacks = changed.get(key) is None and (key in MAY_LACK.get(name, ()) or name == "config.json")
        # a value of the right kind makes another model, with another fingerprint
        right = key in changed and kind(changed[key]) == kind(entry[key])
        results.append(outcome(folder, folder / name, wanted, may_differ=lacks or right))
    assert len(results) >= len(VALUES)
    assert "refused" in results


def test_more_than_two_hundred_of_them(model: Path) -> None:
    count = 0
    for name in NAMES:
        whole = json.loads((model / name).read_bytes())
        count += len(FILES) + len(with_each_key_odd(whole[0] if isinstance(whole, list) else whole))
    assert count > 200
