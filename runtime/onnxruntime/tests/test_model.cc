// ONNX files by their bytes: names, shapes and metadata; decisions from metadata by numbers worked out by hand.
#include "check.h"
#include "model/decision.h"
#include "model/front_end.h"
#include "model/onnx_file.h"

namespace {

using Metadata = std::map<std::string, std::string>;

std::string varint(std::uint64_t value) {
  std::string text;
  for (; value > 127; value >>= 7) text.push_back(static_cast<char>((value & 127) | 128));
  text.push_back(static_cast<char>(value));
  return text;
}

// A protobuf field that has a length, and one that is a number.
std::string field(int number, const std::string& content) {
  return varint(static_cast<std::uint64_t>(number) << 3 | 2) + varint(content.size()) + content;
}
std::string field(int number, std::uint64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) + varint(value);
}

// A value [B, T, last]; `last` 0: dynamic.
std::string value(const std::string& name, std::uint64_t last) {
  const std::string dynamic = field(1, field(2, "n"));
  const std::string shape = dynamic + dynamic + (last ? field(1, field(1, last)) : dynamic);
  return field(1, name) + field(2, field(1, field(1, std::uint64_t{1}) + field(2, shape)));
}

std::string onnx(const Metadata& metadata, const std::string& input = "feature") {
  // the weight is listed among the inputs too, as old files do
  const std::string graph = field(5, field(8, "weight")) + field(11, value("weight", 3)) + field(11, value(input, 80)) +
                            field(12, value("embedding", 192));
  std::string bytes = field(7, graph);
  for (const auto& [key, text] : metadata) bytes += field(14, field(1, key) + field(2, text));
  return bytes;
}

speaker::OnnxFile parse(const std::string& bytes) {
  return speaker::parse_onnx_file(std::vector<std::uint8_t>(bytes.begin(), bytes.end()), "m.onnx");
}

void test_file() {
  const auto file = parse(onnx({{"sample_rate", "16000"}}));
  CHECK(file.input == "feature" && file.output == "embedding" && file.feat_dim == 80 && file.embed_dim == 192);
  CHECK(file.metadata.at("sample_rate") == "16000" && !file.is_sealed);
  const std::string whole = onnx({});
  for (std::size_t size = 0; size < whole.size(); ++size)
    CHECK_THROWS(parse(whole.substr(0, size)), "m.onnx: is no ONNX");
  CHECK_THROWS(parse(onnx({{"file_sha256", std::string(64, '0')}})), "does not match its hash");
}

void test_front_end() {
  CHECK_THROWS(speaker::FrontEnd(parse(onnx({})), "m.onnx", ""), "names no features; give fbank_config.json");
  CHECK_THROWS(speaker::FrontEnd(parse(onnx({}, "waveform")), "m.onnx", ""), "lack sample_rate");
  CHECK_THROWS(speaker::FrontEnd(parse(onnx({{"frontend", "{}"}})), "m.onnx", ""), "metadata are not of this version");
  CHECK_THROWS(speaker::FrontEnd(parse(onnx({{"frontend", "{\"name\": \"mfcc\"}"}})), "m.onnx", ""),
               "takes mfcc features");
}

const std::string kCalibration =
    R"({"scale": 10.0, "offset": -4.0, "point_name": "even odds", "point": {"p_target": 0.5, "c_miss": 1.0, "c_fa": 1.0},
        "trials": "list", "num_targets": 5, "num_nontargets": 9, "domain": "",
        "conditions": {"speech_s": [1, 9], "level_db": [-40, -10], "bandwidth_hz": [7000, 7000]}})";

speaker::Heard heard(std::vector<float> embedding, double level_db = -20) {
  speaker::Heard found;
  found.embedding = std::move(embedding);
  found.speech.level_db = level_db;
  found.speech.bandwidth_hz = 7000;
  return found;
}

// At even odds the threshold is where the ratio is 1: 10 s - 4 = 0, s = 0.4. The cosine of (1, 0) and (3, 4) is 0.6.
void test_decisions() {
  const auto rule = speaker::read_rule({{"calibration", kCalibration}}, "m.onnx");
  CHECK(rule.origin == "calibrated");
  CHECK_NEAR(*rule.threshold, 0.4, 1e-12);
  const speaker::Identity model{"m.onnx", {}, {}, 16000};
  const auto same = speaker::decide(heard({1, 0}), heard({3, 4}), rule, model);
  CHECK(same.label == "Same");
  CHECK_NEAR(same.score, 0.6, 1e-9);
  CHECK_NEAR(*same.llr, 2.0, 1e-6);
  CHECK(same.text.find("7.4 times as likely from the same speaker (log-likelihood ratio +2.00)") != std::string::npos);
  CHECK(speaker::decide(heard({1, 0}), heard({0, 1}), rule, model).label == "Different");
  const auto quiet = speaker::decide(heard({1, 0}), heard({3, 4}, -61), rule, model);
  CHECK(quiet.label == "Uncertain" && !quiet.llr && quiet.reasons.size() == 1);
  CHECK(speaker::decide(heard({1, 0}), heard({3, 4}, -59), rule, model).label == "Same");  // 20 dB are no reason
  const auto none = speaker::decide(heard({1, 0}), heard({1, 0}), speaker::read_rule({}, "m.onnx"), model);
  CHECK(none.label == "Uncertain" && !none.threshold);
}

void test_damaged_metadata() {
  for (const std::string text : {"", "[]", "{}", "{\"scale\": 0}", "{\"scale\": \"x\"}"})
    CHECK_THROWS(speaker::read_rule({{"calibration", text}}, "m.onnx"), "metadata are not of this version");
  CHECK_THROWS(speaker::read_rule({{"threshold", "much"}}, "m.onnx"), "metadata are not of this version");
  CHECK_THROWS(speaker::read_rule({{"threshold", "nan"}}, "m.onnx"), "metadata are not of this version");
  CHECK_THROWS(speaker::read_rule({{"adaptation", "{}"}}, "m.onnx"), "metadata are not of this version");
  std::string nested = kCalibration;  // printing it would need a stack of its depth
  nested.replace(nested.find("\"list\""), 6, std::string(400000, '[') + std::string(400000, ']'));
  CHECK_THROWS(speaker::read_rule({{"calibration", nested}}, "m.onnx"), "metadata are not of this version");
}

}  // namespace

int main() {
  test_file();
  test_front_end();
  test_decisions();
  test_damaged_metadata();
  return finish();
}
