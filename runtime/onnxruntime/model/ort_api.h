// The part of ONNX Runtime's C interface that is used here, by its place in the table of functions, which no version
// has changed since the first. With SPEAKER_ENGINE_ORT_HEADERS the places are checked against the official header.
//   const OrtTable ort = open_ort("libonnxruntime.so.1"); ort.call(ort.create_env, 3, "speaker", &env);
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace speaker {

// Objects of the runtime, which only it looks into.
struct OrtStatusTag;
struct OrtEnvTag;
struct OrtOptionsTag;
struct OrtSessionTag;
struct OrtValueTag;
struct OrtMemoryTag;
struct OrtShapeTag;

enum OrtPlace : std::size_t {
  kGetErrorMessage = 2,
  kCreateEnv = 3,
  kCreateSessionFromArray = 8,
  kRun = 9,
  kCreateSessionOptions = 10,
  kDisableMemPattern = 17,
  kDisableCpuMemArena = 19,
  kSetSessionLogSeverityLevel = 22,
  kSetIntraOpNumThreads = 24,
  kSetInterOpNumThreads = 25,
  kCreateTensorWithData = 49,
  kGetTensorMutableData = 51,
  kGetTensorShapeElementCount = 64,
  kGetTensorTypeAndShape = 65,
  kCreateCpuMemoryInfo = 69,
  kReleaseEnv = 92,
  kReleaseStatus = 93,
  kReleaseMemoryInfo = 94,
  kReleaseSession = 95,
  kReleaseValue = 96,
  kReleaseTypeAndShape = 99,
  kReleaseSessionOptions = 100,
};

struct OrtTable {
  const void* const* functions = nullptr;
  std::string version;
  std::string path;  // of the library

  template <typename Function>
  Function at(OrtPlace place) const {
    return reinterpret_cast<Function>(const_cast<void*>(functions[place]));
  }

  // Calls the function at `place`, which returns a status; throws Error with its message.
  template <typename... Arguments>
  void call(OrtPlace place, Arguments... arguments) const {
    check(at<OrtStatusTag* (*)(Arguments...)>(place)(arguments...));
  }

  template <typename Object>
  void release(OrtPlace place, Object* object) const {
    if (object) at<void (*)(Object*)>(place)(object);
  }

  void check(OrtStatusTag* status) const;
};

// The runtime in the library or folder `wanted`; where that is empty, of SPEAKER_ENGINE_RUNTIME, the system, or the
// active Python environment, in this order. Throws Error where there is none.
OrtTable find_ort(const std::string& wanted);

// The runtime in the library `path`; its version is looked at.
OrtTable open_ort(const std::string& path);

}  // namespace speaker
