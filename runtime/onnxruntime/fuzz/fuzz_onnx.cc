// Any bytes as an ONNX file with metadata: read, or refused by an Error. No runtime is started.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/front_end.h"
#include "model/onnx_file.h"
#include "model/rule.h"
#include "speaker_engine/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto file = speaker::parse_onnx_file(std::vector<std::uint8_t>(data, data + size), "m.onnx");
    const auto rule = speaker::read_rule(file.metadata, "m.onnx");
    rule.told().dump(-1, ' ', true, speaker::OrderedJson::error_handler_t::replace);
    const speaker::FrontEnd front_end(file, "m.onnx", "");
  } catch (const speaker::Error&) {
  }
  return 0;
}
