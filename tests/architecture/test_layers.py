"""The import rules of DESIGN section 4, read from the source: who may import whom, and light imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "speakerlab"
MODULES = sorted(PACKAGE.rglob("*.py"))

# first package component (or top module) -> layer
LAYERS = {
    "types": 0, "errors": 0, "registry": 0, "cache": 0, "distribution": 0,
    "config": 1, "logs": 1, "parallel": 1, "torchaudio_import": 1, "onnxruntime_import": 1,
    "data": 2, "io": 2,
    "frontend": 3, "augment": 3, "nn": 3, "backend": 3, "metrics": 3,
    "train": 4, "embed": 4, "hub": 4, "report": 4,
    "pipeline": 5, "predictor": 5, "voiceprint": 5,
    "serve": 6, "bin": 6, "cli": 6,
}  # fmt: skip
NUMERIC = {0: {"numpy"}, 1: {"numpy", "yaml", "tqdm"}, 2: {"numpy", "scipy", "kaldiio", "soundfile", "av"}}
NUMERIC_3 = {
    "frontend": {"torch", "numpy", "onnxruntime"},
    "augment": {"numpy", "scipy", "torch"},
    "nn": {"torch", "numpy", "transformers", "peft"},
    "backend": {"numpy", "scipy"},
    "metrics": {"numpy", "scipy", "matplotlib"},
}
# the folder that the user names there serves the API as well as the commands; so does a library's telemetry
ENVIRONMENT = {"cache.py", "onnxruntime_import.py"}
ONLY_IN = {
    "kaldiio": {"io/ark.py"},
    "soundfile": {"io/audio.py"},
    "av": {"io/container.py"},
    "torchaudio": {"torchaudio_import.py"},
    "matplotlib": {"metrics/det_plot.py", "metrics/plot_style.py"},
    "transformers": {"nn/models/ssl.py"},
    "peft": {"nn/models/ssl.py"},
}


def imports(path):
    """(imported module, is it only for type checking) of every import statement in a file."""
    tree = ast.parse(path.read_text())
    checking = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in checking:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "speakerlab":
                yield from (f"speakerlab.{alias.name}" for alias in node.names)
            elif node.module.startswith("speakerlab."):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def place(path):
    """Folder or top-level module name that decides the layer."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_layers(path):
    own = place(path)
    if own == "__init__":
        assert not list(imports(path))
        return
    layer = LAYERS[own]
    for name in imports(path):
        if name.startswith("speakerlab."):
            other = name.split(".")[1]
            if other not in LAYERS:  # `from speakerlab import __version__`
                continue
            assert LAYERS[other] <= layer, f"{own} (L{layer}) imports {name}"
            if layer == 3 and other != own:
                assert LAYERS[other] < 3, f"{own} imports its neighbour {name}"
            if own == "nn" and path.parent.name == "models":
                assert ".nn.models" not in name, f"a model imports a model: {name}"
            continue
        top = name.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        allowed = NUMERIC_3.get(own) if layer == 3 else NUMERIC.get(layer)
        if allowed is not None:
            assert top in allowed, f"{own} imports {top}"
        if top in ONLY_IN:
            assert str(path.relative_to(PACKAGE)) in ONLY_IN[top], f"{top} imported in {path}"


@pytest.mark.parametrize(
    "path", [m for m in MODULES if LAYERS.get(place(m), 9) < 6], ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_no_console_environment_or_global_seed_below_bin(path):
    for node in ast.walk(ast.parse(path.read_text())):
        text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Call) else ""
        assert not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"), path
        assert text not in {"os.environ", "os.getenv"} or str(path.relative_to(PACKAGE)) in ENVIRONMENT, path
        assert text != "np.random.seed", path
        assert not text.startswith(("torch.manual_seed(", "np.random.seed(")), f"{path}: {text}"


def test_importing_the_package_is_light():
    code = "import sys, speakerlab, speakerlab.types, speakerlab.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("module", ["backend.training", "metrics.detection", "data.datadir"])
def test_scoring_and_metrics_need_no_torch(module):
    code = f"import sys, speakerlab.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
