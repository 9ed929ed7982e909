"""GhostVLAD: random weights in Keras' HDF5 layout, against the layer table worked out in functions."""

import h5py
import numpy as np
import peers
import pytest
import torch
from torch.nn import functional

from speakerlab.errors import DataError
from speakerlab.hub import keras_h5
from speakerlab.hub.load import load_model

# stage -> letters of its blocks, width of the 3x3 convolutions, channels out
STAGES = {2: ("ab", 48, 96), 3: ("abc", 96, 128), 4: ("abc", 128, 256), 5: ("abc", 256, 512)}


def weights(seed):
    """Layer -> weight -> array, in Keras' shapes, of the published sizes; 80 layers."""
    rng = np.random.default_rng(seed)
    layers = {}

    def convolution(name, height, width, channels_in, channels, *, bias=False):
        scale = np.sqrt(2 / (height * width * channels_in))
        layers[name] = {"kernel": scale * rng.standard_normal((height, width, channels_in, channels))}
        if bias:
            layers[name]["bias"] = 0.1 * rng.standard_normal(channels)
            return
        layers[f"{name}/bn"] = {
            "gamma": rng.uniform(0.5, 1.5, channels),
            "beta": 0.3 * rng.standard_normal(channels),
            "moving_mean": 0.3 * rng.standard_normal(channels),
            "moving_variance": rng.uniform(0.5, 1.5, channels),
        }

    convolution("conv1_1/3x3_s1", 7, 7, 1, 64)
    channels = 64
    for stage, (letters, inner, outer) in STAGES.items():
        for letter in letters:
            name = f"conv{stage}_{letter}"
            convolution(f"{name}_1x1_reduce", 1, 1, channels, inner)
            convolution(f"{name}_3x3", 3, 3, inner, inner)
            convolution(f"{name}_1x1_increase", 1, 1, inner, outer)
            if letter == "a":
                convolution(f"{name}_1x1_proj", 1, 1, channels, outer)
            channels = outer
    convolution("x_fc", 7, 1, 512, 512, bias=True)
    convolution("gvlad_center_assignment", 7, 1, 512, 10, bias=True)
    layers["gvlad_pool"] = {"centers": rng.standard_normal((10, 512))}
    layers["fc6"] = {
        "kernel": 0.05 * rng.standard_normal((4096, 512)),
        "bias": 0.1 * rng.standard_normal(512),
    }
    return {name: {k: v.astype(np.float32) for k, v in w.items()} for name, w in layers.items()}


def write(path, layers, encode, root):
    """The file of Keras' ``save_weights``: names in attributes, paths that nest and repeat."""
    names = list({"input": {}, **layers})
    with h5py.File(path, "w") as stream:
        top = stream.create_group("model_weights") if root else stream
        top.attrs["layer_names"] = [encode(name) for name in names]
        for name in names:
            group = top.create_group(name) if name not in top else top[name]
            arrays = layers.get(name, {})
            group.attrs["weight_names"] = [encode(f"{name}/{key}:0") for key in arrays]
            for key, array in arrays.items():
                group.create_dataset(f"{name}/{key}:0", data=array)


def test_weights_behind_links_to_other_files_are_not_read(tmp_path):
    layers = {"fc": {"kernel": np.ones((2, 3), np.float32)}}
    write(tmp_path / "own.h5", layers, str, root=False)
    assert keras_h5.read_layers(tmp_path / "own.h5")["fc"]["kernel"].sum() == 6
    for kind in ("link", "storage"):
        path = tmp_path / f"{kind}.h5"
        with h5py.File(path, "w") as stream:
            stream.attrs["layer_names"] = ["fc"]
            if kind == "link":
                stream["fc"] = h5py.ExternalLink("own.h5", "/fc")
                continue
            group = stream.create_group("fc")
            group.attrs["weight_names"] = ["kernel:0"]
            (tmp_path / "secret").write_bytes(bytes(24))
            group.create_dataset("kernel:0", (2, 3), np.float32, external=[(tmp_path / "secret", 0, 24)])
        with pytest.raises(DataError, match="is kept in another file, which is not read"):
            keras_h5.read_layers(path)


class Peer:
    """The layer table, channels first, on the arrays as they are in the file."""

    def __init__(self, layers):
        self.layers = {n: {k: torch.from_numpy(v) for k, v in w.items()} for n, w in layers.items()}

    def convolve(self, x, name, stride=1, padding=0):
        layer = self.layers[name]
        y = functional.conv2d(x, layer["kernel"].permute(3, 2, 0, 1), layer.get("bias"), stride, padding)
        norm = self.layers.get(f"{name}/bn")
        if norm is None:
            return y
        return functional.batch_norm(
            y, norm["moving_mean"], norm["moving_variance"], norm["gamma"], norm["beta"], eps=1e-3
        )

    def block(self, x, name, stride):
        y = functional.relu(self.convolve(x, f"{name}_1x1_reduce", stride))
        y = functional.relu(self.convolve(y, f"{name}_3x3", 1, 1))
        y = self.convolve(y, f"{name}_1x1_increase")
        shortcut = self.convolve(x, f"{name}_1x1_proj", stride) if name.endswith("a") else x
        return functional.relu(y + shortcut)

    def __call__(self, samples):
        x = functional.relu(self.convolve(spectrogram(samples)[:, None], "conv1_1/3x3_s1", 1, 3))
        x = functional.max_pool2d(x, 2)
        for stage, (letters, _, _) in STAGES.items():
            for letter in letters:
                x = self.block(x, f"conv{stage}_{letter}", 2 if stage > 2 and letter == "a" else 1)
        x = functional.max_pool2d(x, (3, 1), (2, 1))
        frames = functional.relu(self.convolve(x, "x_fc"))[0, :, 0].T  # [T, 512]
        scores = self.convolve(x, "gvlad_center_assignment")[0, :, 0].T.softmax(dim=1)  # [T, 10]
        centers = self.layers["gvlad_pool"]["centers"]
        residuals = (scores[:, :, None] * (frames[:, None] - centers)).sum(0)[:8]
        pooled = functional.normalize(residuals, dim=1).flatten()
        fc6 = self.layers["fc6"]
        return functional.normalize(functional.relu(pooled @ fc6["kernel"] + fc6["bias"]), dim=0)


def spectrogram(samples):
    """[1, 257, T] of the signal and its time reversal: magnitudes, each frame standardised."""
    mirrored = torch.cat([samples, samples.flip(1)], dim=1)
    spectra = torch.stft(
        mirrored, 512, 160, 400, torch.hann_window(400), center=True, pad_mode="constant", return_complex=True
    )
    magnitudes = spectra.abs()
    deviation, mean = torch.std_mean(magnitudes, dim=1, correction=0, keepdim=True)
    return (magnitudes - mean) / (deviation + 1e-5)


@pytest.mark.parametrize(("encode", "root"), [(str, False), (str.encode, True)])
def test_from_waveform_to_embedding(tmp_path, encode, root):
    layers = weights(0)
    assert len(layers) == 80
    assert sum(len(arrays) for arrays in layers.values()) == 197
    write(tmp_path / "weights.h5", layers, encode, root)
    for source in (tmp_path, tmp_path / "weights.h5"):
        loaded = load_model(source)
        assert loaded.card["num_params"] == 7_664_394
        peers.check_waveforms(Peer(layers), loaded)
