#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <sstream>
#include <vector>

#include "model/ort_api.h"
#include "speaker_engine/error.h"

#ifdef SPEAKER_ENGINE_ORT_HEADERS
#include <onnxruntime_c_api.h>
#define SPEAKER_PLACE(member, place) static_assert(offsetof(OrtApi, member) == sizeof(void*) * (place), #member)
SPEAKER_PLACE(GetErrorMessage, speaker::kGetErrorMessage);
SPEAKER_PLACE(CreateEnv, speaker::kCreateEnv);
SPEAKER_PLACE(CreateSessionFromArray, speaker::kCreateSessionFromArray);
SPEAKER_PLACE(Run, speaker::kRun);
SPEAKER_PLACE(CreateSessionOptions, speaker::kCreateSessionOptions);
SPEAKER_PLACE(DisableMemPattern, speaker::kDisableMemPattern);
SPEAKER_PLACE(DisableCpuMemArena, speaker::kDisableCpuMemArena);
SPEAKER_PLACE(SetSessionLogSeverityLevel, speaker::kSetSessionLogSeverityLevel);
SPEAKER_PLACE(SetIntraOpNumThreads, speaker::kSetIntraOpNumThreads);
SPEAKER_PLACE(SetInterOpNumThreads, speaker::kSetInterOpNumThreads);
SPEAKER_PLACE(CreateTensorWithDataAsOrtValue, speaker::kCreateTensorWithData);
SPEAKER_PLACE(GetTensorMutableData, speaker::kGetTensorMutableData);
SPEAKER_PLACE(GetTensorShapeElementCount, speaker::kGetTensorShapeElementCount);
SPEAKER_PLACE(GetTensorTypeAndShape, speaker::kGetTensorTypeAndShape);
SPEAKER_PLACE(CreateCpuMemoryInfo, speaker::kCreateCpuMemoryInfo);
SPEAKER_PLACE(ReleaseEnv, speaker::kReleaseEnv);
SPEAKER_PLACE(ReleaseStatus, speaker::kReleaseStatus);
SPEAKER_PLACE(ReleaseMemoryInfo, speaker::kReleaseMemoryInfo);
SPEAKER_PLACE(ReleaseSession, speaker::kReleaseSession);
SPEAKER_PLACE(ReleaseValue, speaker::kReleaseValue);
SPEAKER_PLACE(ReleaseTensorTypeAndShapeInfo, speaker::kReleaseTypeAndShape);
SPEAKER_PLACE(ReleaseSessionOptions, speaker::kReleaseSessionOptions);
#endif

namespace speaker {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kApiVersion = 11;  // of ONNX Runtime 1.11: every later version has it
constexpr char kFix[] =
    "pip install onnxruntime (1.19 or newer), or name the library: --runtime PATH, SPEAKER_ENGINE_RUNTIME";
constexpr char kInWheel[] = "onnxruntime/capi/libonnxruntime.so.[0-9]*";

struct ApiBase {
  const void* const* (*get_api)(std::uint32_t version);
  const char* (*get_version)();
};

std::vector<std::string> matches(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> paths;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
    for (std::size_t n = 0; n < found.gl_pathc; ++n) paths.emplace_back(found.gl_pathv[n]);
  ::globfree(&found);
  return paths;
}

// The numbers of ".so.1.31.1": versions are compared by them, not as text.
std::vector<int> version_of(const std::string& path) {
  const auto start = path.rfind(".so.");
  std::vector<int> numbers;
  if (start == std::string::npos) return numbers;
  std::istringstream text(path.substr(start + 4));
  for (std::string part; std::getline(text, part, '.');) numbers.push_back(std::atoi(part.c_str()));
  return numbers;
}

std::string newest(std::vector<std::string> paths) {
  if (paths.empty()) return "";
  return *std::max_element(paths.begin(), paths.end(),
                           [](const auto& a, const auto& b) { return version_of(a) < version_of(b); });
}

std::string in_folder(const std::string& folder) {
  for (const char* pattern :
       {"/libonnxruntime.so.[0-9]*.[0-9]*", "/capi/libonnxruntime.so.[0-9]*", "/libonnxruntime.so*"})
    if (const auto found = newest(matches(folder + pattern)); !found.empty()) return found;
  return "";
}

std::string in_prefix(const std::string& prefix) {
  return newest(matches(prefix + "/lib/python3*/site-packages/" + kInWheel));
}

// The wheel of the active environment, of the python3 on PATH, of the user, or of the system.
std::string in_python() {
  const char* active = std::getenv("VIRTUAL_ENV");
  if (active && *active)
    if (const auto found = in_prefix(active); !found.empty()) return found;
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');) {
    std::error_code ignored;
    if (folder.empty() || !fs::exists(fs::path(folder) / "python3", ignored)) continue;
    if (const auto found = in_prefix(fs::path(folder).parent_path().string()); !found.empty()) return found;
    break;  // another Python on PATH is not the one that runs
  }
  const char* home = std::getenv("HOME");
  if (home)
    if (const auto found = in_prefix(std::string(home) + "/.local"); !found.empty()) return found;
  for (const char* folder : {"/usr/local/lib/python3*/dist-packages/", "/usr/lib/python3/dist-packages/"})
    if (const auto found = newest(matches(std::string(folder) + kInWheel)); !found.empty()) return found;
  return "";
}

OrtTable opened(const std::string& path, void* library) {
  const auto base_of = reinterpret_cast<const ApiBase* (*)()>(::dlsym(library, "OrtGetApiBase"));
  if (!base_of) throw Error(path, "is no ONNX Runtime", kFix);
  const ApiBase* base = base_of();
  OrtTable table;
  table.functions = base->get_api(kApiVersion);
  table.version = base->get_version();
  table.path = path;
  if (!table.functions) throw Error(path, "ONNX Runtime " + table.version + " is too old", kFix);
  return table;
}

}  // namespace

OrtTable open_ort(const std::string& path) {
  static std::mutex mutex;
  static std::map<std::string, void*> libraries;  // loaded once and never unloaded: threads may outlive the last model
  const std::lock_guard<std::mutex> lock(mutex);
  auto known = libraries.find(path);
  if (known == libraries.end()) {
    void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) throw Error(path, std::string("cannot be loaded: ") + ::dlerror(), kFix);
    known = libraries.emplace(path, library).first;
  }
  return opened(path, known->second);
}

OrtTable find_ort(const std::string& wanted) {
  std::string named = wanted;
  const char* variable = std::getenv("SPEAKER_ENGINE_RUNTIME");
  if (named.empty() && variable) named = variable;
  std::error_code ignored;
  if (!named.empty()) {
    if (!fs::is_directory(named, ignored)) return open_ort(named);
    const auto found = in_folder(named);
    if (found.empty()) throw Error(named, "holds no libonnxruntime.so; wheels before 1.19 have none", kFix);
    return open_ort(found);
  }
  for (const char* name : {"libonnxruntime.so.1", "libonnxruntime.so"})
    if (void* library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return opened(name, library);
  const auto found = in_python();
  if (found.empty())
    throw Error("no ONNX Runtime was found, neither in the system nor in Python's packages; " + std::string(kFix));
  return open_ort(found);
}

void OrtTable::check(OrtStatusTag* status) const {
  if (!status) return;
  std::string message = at<const char* (*)(const OrtStatusTag*)>(kGetErrorMessage)(status);
  release(kReleaseStatus, status);
  std::replace(message.begin(), message.end(), '\n', ' ');
  throw Error("ONNX Runtime " + version, message);
}

}  // namespace speaker
