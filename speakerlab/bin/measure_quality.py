"""Write what calibrations use as quality measures of utterances, a number each: utt2dur, utt2mag, utt2cohort.

Seconds; lengths of embeddings as extracted; mean scores against the cohort of score normalisation, if its
statistics are given.

Example: python -m speakerlab.bin.measure_quality --norm-stats exp/first/scores/dev/cohort_stats.json data/dev
    exp/first/embeddings/model/dev/embeddings.scp exp/first/quality/dev
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from speakerlab.backend import quality
from speakerlab.backend.score_norm import CohortStatistics
from speakerlab.bin import entry
from speakerlab.data.datadir import DataDir
from speakerlab.data.durations import durations_s
from speakerlab.data.tables import write_table
from speakerlab.io import parts
from speakerlab.io.ark import read_embeddings


def options() -> argparse.ArgumentParser:
    """The command line."""
    parser = entry.parser(__doc__)
    parser.add_argument(
        "--norm-stats", type=Path, metavar="FILE", help="what score_trials --norm-stats kept, for utt2cohort"
    )
    parser.add_argument("data_dir", type=Path, help="Kaldi data dir")
    parser.add_argument("embeddings_scp", type=Path, help="its embeddings")
    parser.add_argument("out_dir", type=Path, help="folder for the tables")
    return parser


def main(arguments: argparse.Namespace) -> None:
    """Write the tables.

    Raises:
        DataError: bad data dir, embeddings or statistics.
        AudioError: a duration that cannot be found out.
    """
    data, embeddings = DataDir.load(arguments.data_dir), read_embeddings(arguments.embeddings_scp)
    missing = parts.failures(arguments.embeddings_scp.parent).keys() - set(embeddings.ids)
    heard = replace(data, utterances=tuple(u for u in data.utterances if u.utt_id not in missing))
    tables: dict[str, Mapping[str, float]] = {
        "utt2dur": durations_s(heard),
        "utt2mag": quality.magnitudes(embeddings),
    }
    if arguments.norm_stats:
        tables["utt2cohort"] = quality.cohort_means(CohortStatistics.load(arguments.norm_stats))
    for name, values in tables.items():
        write_table(arguments.out_dir / name, ((key, repr(values[key])) for key in sorted(values)))
    print(
        f"{arguments.out_dir}: {', '.join(f'{name} of {len(values):,}' for name, values in tables.items())}"
    )


if __name__ == "__main__":
    entry.run(main, options())
