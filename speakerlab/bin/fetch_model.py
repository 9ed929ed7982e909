"""Download a published model into the cache, once. Afterwards it works without a network.

The command prints the folder of the bundle, the graph for ONNX Runtime if there is one, and what the model
was trained on. `speakerlab models --published` lists the names.

Example: speakerlab fetch campplus
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from speakerlab.bin import entry
from speakerlab.errors import SpeakerLabError


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("name", metavar="NAME", help="short name, such as campplus, or the publisher's id")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Fetch, check, print.

    Raises:
        SpeakerLabError: no published model of that name, or no source has it.
    """
    from speakerlab.hub import published
    from speakerlab.registry import nearest

    model = published.named(arguments.name)
    if model is None:
        why = f"'{arguments.name}' is no published model; {nearest(arguments.name, list(published.TABLE))}"
        raise SpeakerLabError(why)
    found = _fetched(model)
    if arguments.json:
        print(json.dumps(found))
        return
    print(f"model    {model.name} ({model.model_id})")
    print(f"bundle   {found['path']}")
    print(f"graph    {found['graph'] or 'none: install onnx, onnxscript and onnxruntime, and fetch again'}")
    print(f"domain   {model.domain}; {model.sample_rate} Hz")
    print(f"network  {model.num_params:,} parameters, embeddings of {model.embed_dim} numbers")
    print(f"licence  {model.licence}")


def _fetched(model: Any) -> dict[str, Any]:
    """Where ``model`` is now, and what it is."""
    from speakerlab.cache import user_cache
    from speakerlab.hub import published
    from speakerlab.hub.model_cache import ModelCache

    cache = ModelCache(user_cache())
    loaded = cache.load(model)
    graph = cache.graph(model)
    where = {"path": str(loaded.path), "graph": str(graph) if graph else None}
    return {**published.describe(model), **where, "content_hash": loaded.content_hash}


if __name__ == "__main__":
    entry.run(main, options())
