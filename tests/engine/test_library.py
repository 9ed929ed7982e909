"""The library in other people's products: installed, linked from C++, C and Python, used by many threads."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ASSETS, BUILD, voiced

SOURCE = ASSETS.parent
CONSUMER = """
cmake_minimum_required(VERSION 3.20)
project(consumer LANGUAGES C CXX)
find_package(speaker_engine 1 REQUIRED)
add_executable(static_cc {examples}/embed.cc)
target_link_libraries(static_cc PRIVATE speaker_engine::speaker_engine)
add_executable(shared_c {examples}/embed.c)
target_link_libraries(shared_c PRIVATE speaker_engine::speaker_engine_shared)
"""
# ONNX Runtime is not built with the sanitizer, which does not see its locks; at the exit it opens one of them
SUPPRESSIONS = "race:libonnxruntime.so\ncalled_from_lib:libonnxruntime.so\nmutex:__run_exit_handlers\n"


def output(*command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, (
        f"{command} gives {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    )
    return done.stdout


@pytest.fixture
def pair(wav):
    return wav("a.wav", voiced(3, 0)), wav("b.wav", voiced(2, 4))


@pytest.fixture
def expected(waveform_graph, pair):
    return output(BUILD / "bin/embed", waveform_graph, *pair)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("prefix")
    output("cmake", "--install", BUILD, "--prefix", prefix)
    return prefix


def test_examples_agree(waveform_graph, pair, expected):
    assert re.fullmatch(r"-?0\.\d+\n", expected)
    assert output(BUILD / "bin/embed_c", waveform_graph, *pair) == expected
    library = BUILD / "libspeaker_engine.so"
    assert output(sys.executable, SOURCE / "examples/embed.py", library, waveform_graph, *pair) == expected


def test_examples_say_what_is_wrong(waveform_graph, pair):
    for program in ("embed", "embed_c"):
        command = [BUILD / "bin" / program, waveform_graph, "none.wav", pair[1]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("none.wav: no such file")


def test_the_c_interface_as_c(waveform_graph, corpus_pair):
    output(BUILD / "bin/test_c_api", waveform_graph, *corpus_pair)


@pytest.fixture
def corpus_pair(wav):
    """Recordings that are enough speech for a decision."""
    return wav("1.wav", voiced(4, 1)), wav("2.wav", voiced(4, 6))


def test_only_the_c_interface_is_visible():
    listed = output("nm", "-D", "--defined-only", BUILD / "libspeaker_engine.so").splitlines()
    names = {line.split()[-1] for line in listed}
    functions = {name.partition("@")[0] for name in names} - {"SPEAKER_ENGINE_1"}
    header = (SOURCE / "include/speaker_engine/c_api.h").read_text()
    assert functions == set(re.findall(r"^SPEAKER_API .*?(speaker_\w+)\(", header, re.MULTILINE))


def test_the_library_never_ends_the_process():
    wanted = output("nm", "--undefined-only", BUILD / "libspeaker_engine.a").split()
    assert "dlopen" in wanted  # it is this library
    assert not {"exit", "_exit", "abort", "quick_exit"} & set(wanted)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_many_threads_get_equal_bits(waveform_graph, pair, engine):
    output(BUILD / "bin/test_threads", waveform_graph, pair[0], engine)


def test_thread_sanitizer(tmp_path, waveform_graph, pair):
    build = BUILD.parent / "build-thread"
    settings = ["-DSPEAKER_ENGINE_SANITIZE=thread", "-DSPEAKER_ENGINE_OPENVINO=OFF"]
    settings += ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g1"]
    output("cmake", "-S", SOURCE, "-B", build, *settings)
    output("cmake", "--build", build, "--target", "test_threads", "test_lists", "--parallel", "2")
    suppressions = tmp_path / "suppressions"
    suppressions.write_text(SUPPRESSIONS)
    env = {**os.environ, "TSAN_OPTIONS": f"suppressions={suppressions} halt_on_error=1"}
    output(build / "bin/test_lists", env=env)
    output(build / "bin/test_threads", waveform_graph, pair[0], env=env)


def test_what_is_missing_is_named(tmp_path):
    done = subprocess.run(
        ["cmake", "-S", SOURCE, "-B", tmp_path / "b", f"-DNLOHMANN_JSON_INCLUDE_DIR={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "apt install nlohmann-json3-dev" in done.stderr
    shutil.rmtree(tmp_path / "b")
    done = subprocess.run(
        ["cmake", "-S", SOURCE, "-B", tmp_path / "b", f"-DONNXRUNTIME_INCLUDE_DIR={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "holds no onnxruntime_c_api.h" in done.stderr
