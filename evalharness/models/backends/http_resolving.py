"""What a model behind a server is: known by its name and its address, for nobody sees its files."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from evalharness.errors import ModelError, UsageError
from evalharness.models.backends.http_client import KEYS, OPENAI_URL
from evalharness.models.config import FileFacts
from evalharness.models.folding import NO_REVISION, Identity, spec_without_files
from evalharness.models.named import Named
from evalharness.models.options import ModelOptions
from evalharness.models.registry import ResolvedModel

OPENAI = "openai/"


def wire_name(name: str, url: str) -> str:
    """The model's name as the server knows it; OpenAI's own server knows none with its name before it.

    >>> wire_name("openai/text-embedding-3-small", "https://api.openai.com/v1")
    'text-embedding-3-small'
    """
    return name.removeprefix(OPENAI) if urlsplit(url).hostname == urlsplit(OPENAI_URL).hostname else name


def resolve_server(named: Named, *, backend: str) -> ResolvedModel:
    """A model behind a server; the server is not asked.

    Args:
        named: its name is what the server is asked for.
        backend: its backend.

    Raises:
        UsageError: there is no address or a wrong one.
        ModelError: the protocol needs a precision, which only the server could choose.
    """
    name, options = named.name, named.options
    url = _address(name, options)
    # a server may take more for a name than we do, name@revision for one
    card = named.own_card if named.known_as == name else None
    revision = card.revision if card and card.revision else NO_REVISION
    content = json.dumps([name, url, revision])
    spec = spec_without_files(named, backend, Identity(name, revision, content))
    if spec.dtype != "float32":
        raise ModelError(
            f"{name}: the {options.protocol} protocol needs {spec.dtype}, and a server cannot be told its precision; "
            "give --protocol mteb or run the model here"
        )
    notes = [f"run by the server at {url}, which does not show its weights: known by name and address only"]
    if spec.dimensions is not None:
        notes.append(f"vectors cut to {spec.dimensions} dimensions")
    # results may know the model by another name, the server may not
    asked = options.changed({"name": name, "url": url})
    return ResolvedModel(spec.changed({"notes": (*spec.notes, *notes)}), FileFacts(), asked)


def _address(name: str, options: ModelOptions) -> str:
    url = options.url or (OPENAI_URL if name.startswith(OPENAI) else None)
    if url is None:
        raise UsageError(f"{name}: nothing tells where its server is; give --url, for example http://127.0.0.1:7997/v1")
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        well_formed = False
    # neither part is shown: either may be a secret
    if not well_formed or "@" in parts.netloc or parts.query or parts.fragment:
        raise UsageError(
            f"{name}: --url must be a plain address like http://127.0.0.1:7997/v1, without user, password, ? or #; a "
            f"key goes into {KEYS[0]} in the environment"
        )
    return url.rstrip("/")
