"""List the networks: parameters, multiply-adds for 2 s of features, embedding size, paper.

Each published size has a row, counted with 80 features a frame or as many as the network is made for.
--published lists the trained models that have a name here, their sources and the EERs that we measured.

Example: speakerlab models --published
"""

from __future__ import annotations

import argparse
import json
import logging
from typing import Any

from speakerlab import registry
from speakerlab.bin import entry
from speakerlab.errors import MissingExtraError
from speakerlab.hub import download, model_ids, published
from speakerlab.hub.published import Published

NUM_FRAMES, NUM_SAMPLES = 198, 32000  # of 2 s, frames at a shift of 10 ms
FEAT_DIM = 80


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument("--published", action="store_true", help="models that `speakerlab fetch` downloads")
    parser.add_argument("--json", action="store_true", help="one JSON array instead of the table")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Print a row per variant of each registered model, or what is said of each published one."""
    if arguments.published:
        entries = list(published.TABLE.values())
        as_json = json.dumps([published.describe(entry) for entry in entries], indent=2)
        print(as_json if arguments.json else "\n\n".join(map(text_of, entries)))
        return
    found = rows()
    print(json.dumps(found, indent=2) if arguments.json else table(found))


def text_of(model: Published) -> str:
    """What there is to know of a published model, line by line."""
    wheel = model.wheel
    kept, loaded = download.megabytes(model.num_bytes), download.megabytes(wheel.num_bytes)
    hub = model_ids.package_of(model.model_id)
    sources = f"{hub}, where it is installed ({kept}); package index, {wheel.requirement} ({loaded})"
    rows = {
        "id": model.model_id,
        "languages": model.spoken,
        "domain": model.domain,
        "network": f"{model.num_params:,} parameters, embeddings of {model.embed_dim} numbers",
        "licence": model.licence,
        "sources": sources,
        "EER": ", ".join(f"{name} {value:.2f} %" for name, value in model.eer.items()),
    }
    return "\n".join([model.name, *(f"  {name:10} {text}" for name, text in rows.items())])


def rows() -> list[dict[str, Any]]:
    """One row per variant, in the order of the registry; the log names models that need another package."""
    found = []
    for name in registry.names("model"):
        cls = registry.get("model", name)
        for variant, config in cls.VARIANTS.items():
            try:
                sizes = measure(cls, config, getattr(cls, "FEAT_DIMS", {}).get(variant, FEAT_DIM))
            except MissingExtraError as error:
                logging.warning("%s %s left out: %s", name, variant, error)
                continue
            found.append({"name": name, "variant": variant, **sizes, "paper": cls.PAPER})
    return found


def measure(cls: type[Any], config: Any, feat_dim: int) -> dict[str, int]:
    """Sizes of one network, built without memory for its parameters."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model = cls(config, feat_dim=feat_dim).eval()
        feats = torch.empty(1, NUM_SAMPLES if feat_dim == 1 else NUM_FRAMES, feat_dim)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(feats)
    return {
        "feat_dim": feat_dim,
        "num_params": sum(p.numel() for p in model.parameters()),
        "macs": counter.get_total_flops() // 2,  # it counts a multiplication and an addition as two
        "embed_dim": model.embed_dim,
    }


def table(found: list[dict[str, Any]]) -> str:
    """``found`` with aligned columns."""
    header = ("name", "variant", "features", "parameters", "MACs (2 s)", "embedding", "paper")
    body = [
        (
            row["name"],
            row["variant"],
            str(row["feat_dim"]),
            f"{row['num_params']:,}",
            f"{row['macs'] / 1e9:.2f} G",
            str(row["embed_dim"]),
            row["paper"],
        )
        for row in found
    ]
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    numbers = range(2, 6)
    lines = (
        "  ".join(
            text.rjust(width) if i in numbers else text.ljust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *body)
    )
    return "\n".join(lines)


if __name__ == "__main__":
    entry.run(main, options())
