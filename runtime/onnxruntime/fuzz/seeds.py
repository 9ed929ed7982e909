"""Seeds for fuzzing: small files of every kind that the readers know. python seeds.py FOLDER."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path


def chunk(name: bytes, content: bytes) -> bytes:
    """A RIFF chunk."""
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wav(
    tag: int,
    bits: int,
    *,
    channels: int = 1,
    extended: bool = False,
    magic: bytes = b"RIFF",
    before: bytes = b"",
    size: int | None = None,
) -> bytes:
    """A WAV file with four frames."""
    frame = channels * ((bits + 7) // 8)
    head = struct.pack("<HHIIHH", 0xFFFE if extended else tag, channels, 16000, 16000 * frame, frame, bits)
    if extended:
        head += struct.pack("<HHIH", 22, bits, 0, tag) + bytes.fromhex("000000001000800000aa00389b71")
    data = bytes(range(1, 4 * frame + 1))
    stated = len(data) if size is None else size
    body = b"WAVE" + before + chunk(b"fmt ", head) + b"data" + struct.pack("<I", stated) + data
    return magic + struct.pack("<I", len(body)) + body


def field(number: int, content: bytes | str) -> bytes:
    """A protobuf field that has a length."""
    data = content.encode() if isinstance(content, str) else content
    size, length = len(data), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def onnx(metadata: dict[str, str]) -> bytes:
    """The parts of an ONNX file that are read: input, output, metadata."""
    dims = field(1, b"\x08\x01") + field(1, field(2, "T")) + field(1, b"\x08\x50")
    value = field(2, field(1, b"\x08\x01" + field(2, dims)))
    graph = (
        field(5, field(8, "w"))
        + field(11, field(1, "feature") + value)
        + field(12, field(1, "embedding") + value)
    )
    return field(7, graph) + b"".join(
        field(14, field(1, key) + field(2, text)) for key, text in metadata.items()
    )


FRONT_END = {
    "name": "fbank",
    "sample_rate": 16000,
    "num_mels": 80,
    "frame_length_ms": 25.0,
    "frame_shift_ms": 10.0,
    "window": "povey",
    "preemphasis": 0.97,
    "remove_dc": True,
    "low_hz": 20.0,
    "high_hz": 0.0,
    "dither": 0.0,
    "scale": 32768.0,
    "snip_edges": True,
    "use_power": True,
    "use_log": True,
    "log_floor": 1.1920928955078125e-07,
}
CMVN = {"mean": True, "std": False, "window": 0, "min_window": 100, "center": True}
RANGES = {"speech_s": [1, 9], "level_db": [-40, -5], "bandwidth_hz": [7000, 7000]}
CALIBRATION = {
    "scale": 28.0,
    "offset": -13.0,
    "point_name": "even odds",
    "point": {"p_target": 0.5, "c_miss": 1, "c_fa": 1},
    "prior": 0.5,
    "trials": "list",
    "num_targets": 10,
    "num_nontargets": 90,
    "domain": "speech",
    "conditions": RANGES,
}
ARRAY = {"shape": [1], "float64": "AAAAAAAA8D8="}
COHORT = {**ARRAY, "shape": [1, 1]}
ADAPTATION = {
    "norm": {"mean": ARRAY, "cohort": COHORT, "top_n": 1, "location": 0, "spread": 1, "same_person": 2},
    "threshold": 0.3,
    "false_accept": 0.01,
    "interval": [0, 1],
    "domain": "x",
    "conditions": RANGES,
    "recordings": "y",
    "num_recordings": 9,
    "num_people": 9,
    "calibration": None,
}
ENCODINGS = ((1, 8), (1, 16), (1, 24), (1, 32), (3, 32), (3, 64), (6, 8), (7, 8))  # tags and bits
SEEDS = {
    "wav": [
        *(wav(tag, bits, extended=ext) for tag, bits in ENCODINGS for ext in (False, True)),
        wav(1, 16, channels=2, before=chunk(b"LIST", b"odd")),
        wav(1, 16, size=0),
        wav(1, 16, size=0xFFFFFFFF),
        wav(1, 16, size=100),
        wav(1, 16, magic=b"RF64", before=chunk(b"ds64", struct.pack("<QQQI", 100, 8, 4, 0)), size=0xFFFFFFFF),
    ],
    "scp": [b"a /x/a b.wav\nb\tsox c.wav - |\r\n\n c d", b"a\n", b"a/b \xc3\xa4\n%2F x\n. y\n"],
    "config": [
        Path(__file__).parents[1].joinpath("assets/fbank_config.json").read_bytes(),
        json.dumps(
            {
                "FrameExtractionOptions": {
                    "window_type": "blackman",
                    "snip_edges": False,
                    "round_to_power_of_two": False,
                    "max_feature_vectors": 5,
                },
                "MelBanksOptions": {
                    "num_bins": 23,
                    "low_freq": 40,
                    "high_freq": -400,
                    "vtln_low": 150,
                    "vtln_high": -800,
                },
                "use_energy": True,
                "energy_floor": 1.0,
                "raw_energy": False,
                "use_log_fbank": False,
                "use_power": False,
                "vtln_warp": 1.1,
            }
        ).encode(),
    ],
    "onnx": [
        onnx(
            {
                "frontend": json.dumps(FRONT_END),
                "cmvn": json.dumps(CMVN),
                "calibration": json.dumps(CALIBRATION),
            }
        ),
        onnx({"adaptation": json.dumps(ADAPTATION), "threshold": "0.3"}),
        onnx({"threshold": "0.3", "file_sha256": "0" * 64}),
    ],
}


def main() -> None:
    """Write the seeds of each program into a folder of its own."""
    for kind, contents in SEEDS.items():
        folder = Path(sys.argv[1]) / kind
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(contents):
            (folder / f"seed{number}").write_bytes(content)


if __name__ == "__main__":
    main()
