#include "model/onnx_file.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

#include "speaker_engine/error.h"
#include "utils/byte_source.h"
#include "utils/sha256.h"

namespace speaker {
namespace {

constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 31;  // of a protobuf message
constexpr char kFix[] = "export it again: speakerlab export";

// Numbers of the fields in onnx.proto.
enum : std::uint32_t {
  kModelGraph = 7,
  kModelMetadata = 14,
  kGraphInitializer = 5,
  kGraphInput = 11,
  kGraphOutput = 12,
  kTensorName = 8,
  kValueName = 1,
  kValueType = 2,
  kTypeTensor = 1,
  kTensorShape = 2,
  kShapeDim = 1,
  kDimValue = 1,
  kEntryKey = 1,
  kEntryValue = 2,
};

struct Broken {};

struct Field {
  std::uint32_t number = 0;
  std::uint64_t value = 0;   // of a varint
  std::string_view content;  // of what has a length
};

// The fields of one protobuf message, one after the other.
class Message {
 public:
  explicit Message(std::string_view data) : data_(data) {}
  bool next(Field& field) {
    if (data_.empty()) return false;
    const std::uint64_t key = varint();
    field = Field{static_cast<std::uint32_t>(key >> 3), 0, {}};
    switch (key & 7) {
      case 0:
        field.value = varint();
        return true;
      case 1:
        skip(8);
        return true;
      case 2:
        field.content = skip(varint());
        return true;
      case 5:
        skip(4);
        return true;
      default:
        throw Broken();
    }
  }

 private:
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(skip(1)[0]);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (!(byte & 0x80)) return value;
    }
    throw Broken();
  }
  std::string_view skip(std::uint64_t count) {
    if (count > data_.size()) throw Broken();
    const auto found = data_.substr(0, count);
    data_.remove_prefix(count);
    return found;
  }
  std::string_view data_;
};

// The content of the first field `number` of `data`, empty where there is none.
std::string_view first(std::string_view data, std::uint32_t number) {
  Message message(data);
  for (Field field; message.next(field);)
    if (field.number == number) return field.content;
  return {};
}

// The last axis of a value's shape, 0 where it is not fixed.
std::int64_t last_axis(std::string_view value) {
  Message shape(first(first(first(value, kValueType), kTypeTensor), kTensorShape));
  std::int64_t axis = 0;
  for (Field dim; shape.next(dim);) {
    if (dim.number != kShapeDim) continue;
    axis = 0;
    Message message(dim.content);
    for (Field field; message.next(field);)
      if (field.number == kDimValue) axis = static_cast<std::int64_t>(field.value);
  }
  return axis > 0 && axis < (1 << 24) ? axis : 0;
}

void read_graph(std::string_view graph, OnnxFile& file) {
  std::set<std::string> weights;  // older files list them among the inputs
  std::vector<std::string_view> inputs;
  Message message(graph);
  for (Field field; message.next(field);) {
    if (field.number == kGraphInitializer) weights.emplace(first(field.content, kTensorName));
    if (field.number == kGraphInput) inputs.push_back(field.content);
    if (field.number == kGraphOutput && file.output.empty()) {
      file.output = std::string(first(field.content, kValueName));
      file.embed_dim = last_axis(field.content);
    }
  }
  for (const auto input : inputs) {
    const std::string name(first(input, kValueName));
    if (weights.count(name) || !file.input.empty()) continue;
    file.input = name;
    file.feat_dim = last_axis(input);
  }
}

// The hash of the whole file, with zeros where it stands itself, is the value of the entry "file_sha256".
void check_seal(OnnxFile& file, const std::string& path) {
  static const std::string mark = std::string("file_sha256") + "\x12\x40";  // the key, then a text of 64 bytes
  const auto found = std::find_end(file.bytes.begin(), file.bytes.end(), mark.begin(), mark.end());
  if (found == file.bytes.end()) return;
  const auto start = static_cast<std::size_t>(found - file.bytes.begin()) + mark.size();
  if (start + 64 > file.bytes.size()) throw Error(path, "is cut off", kFix);
  Sha256 digest;
  digest.add(file.bytes.data(), start);
  const std::string zeros(64, '0');
  digest.add(reinterpret_cast<const std::uint8_t*>(zeros.data()), 64);
  digest.add(file.bytes.data() + start + 64, file.bytes.size() - start - 64);
  if (std::memcmp(digest.hex().data(), file.bytes.data() + start, 64) != 0)
    throw Error(path, "is damaged: it does not match its hash", kFix);
  file.is_sealed = true;
}

}  // namespace

OnnxFile parse_onnx_file(std::vector<std::uint8_t> bytes, const std::string& path) {
  OnnxFile file;
  file.bytes = std::move(bytes);
  try {
    Message message({reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()});
    for (Field field; message.next(field);) {
      if (field.number == kModelGraph) read_graph(field.content, file);
      if (field.number == kModelMetadata)
        file.metadata[std::string(first(field.content, kEntryKey))] = std::string(first(field.content, kEntryValue));
    }
  } catch (const Broken&) {
    throw Error(path, "is no ONNX file, or cut off", kFix);
  }
  if (file.input.empty() || file.output.empty()) throw Error(path, "is no ONNX file with an input and an output", kFix);
  check_seal(file, path);
  return file;
}

OnnxFile read_onnx_file(const std::string& path) { return parse_onnx_file(read_file(path, kMostBytes), path); }

}  // namespace speaker
