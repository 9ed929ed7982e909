# What the build needs and may use. Nothing is fetched: what is missing is named together with its package, in a line
# that begins with a space, as CMake breaks all others.

find_package(Threads REQUIRED)

# nlohmann/json: from the system, or from the folder that holds nlohmann/json.hpp
set(NLOHMANN_JSON_INCLUDE_DIR "" CACHE PATH "folder with nlohmann/json.hpp; empty: the system's")
if(NLOHMANN_JSON_INCLUDE_DIR)
  find_path(json_folder nlohmann/json.hpp PATHS ${NLOHMANN_JSON_INCLUDE_DIR} NO_DEFAULT_PATH NO_CACHE)
else()
  find_path(json_folder nlohmann/json.hpp NO_CACHE)
endif()
if(NOT json_folder)
  message(FATAL_ERROR " nlohmann/json.hpp was not found: apt install nlohmann-json3-dev, or -DNLOHMANN_JSON_INCLUDE_DIR=FOLDER")
endif()

# libsndfile: FLAC and all else that is not WAV
option(SPEAKER_ENGINE_SNDFILE "read FLAC and other formats through libsndfile where it is found" ON)
if(SPEAKER_ENGINE_SNDFILE)
  find_path(sndfile_folder sndfile.h NO_CACHE)
  find_library(sndfile_library sndfile NO_CACHE)
  if(NOT sndfile_folder OR NOT sndfile_library)
    set(sndfile_library "")
    message(STATUS "without libsndfile: WAV only; apt install libsndfile1-dev for FLAC")
  endif()
endif()

# ONNX Runtime is loaded when a program runs; its headers only check that its table of functions is as expected
set(ONNXRUNTIME_INCLUDE_DIR "" CACHE PATH "folder with onnxruntime_c_api.h; may be empty")
if(ONNXRUNTIME_INCLUDE_DIR AND NOT EXISTS ${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_c_api.h)
  message(FATAL_ERROR " ${ONNXRUNTIME_INCLUDE_DIR} holds no onnxruntime_c_api.h: name the folder that does, or leave ONNXRUNTIME_INCLUDE_DIR empty")
endif()

# OpenVINO, a second engine: its wheel has all that is needed
option(SPEAKER_ENGINE_OPENVINO "build the OpenVINO engine where find_package finds it" ON)
if(SPEAKER_ENGINE_OPENVINO)
  find_package(OpenVINO QUIET COMPONENTS Runtime)
  if(OpenVINO_FOUND)
    message(STATUS "with OpenVINO ${OpenVINO_VERSION}")
  else()
    message(STATUS "without OpenVINO; pip install openvino, and -DOpenVINO_DIR=$(python3 -c 'from openvino.utils import get_cmake_path as p; print(p())')")
  endif()
endif()
