// What an ONNX file says of itself, read without any runtime: names of input and output, and the metadata that
// `speakerlab export` leaves. A file that carries its own hash is checked against it.
//   const OnnxFile file = read_onnx_file("model.onnx"); file.metadata.at("sample_rate");
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace speaker {

struct OnnxFile {
  std::vector<std::uint8_t> bytes;
  std::string input;           // name of the first input that is no weight
  std::string output;          // of the first output
  std::int64_t embed_dim = 0;  // the last axis of the output; 0 where the file does not tell
  std::int64_t feat_dim = 0;   // the last axis of the input; 0 where it is dynamic
  std::map<std::string, std::string> metadata;
  bool is_sealed = false;  // it carries its own hash, which was checked
};

// Throws Error where the file cannot be read, is no ONNX, or does not match the hash in it.
OnnxFile read_onnx_file(const std::string& path);
OnnxFile parse_onnx_file(std::vector<std::uint8_t> bytes, const std::string& path);

}  // namespace speaker
