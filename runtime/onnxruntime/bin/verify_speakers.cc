// Are two recordings of one speaker? Answers as `speakerlab verify` does, from the metadata of the model's file.
#include <cstdlib>
#include <iostream>
#include <limits>

#include "speaker_engine/speaker_model.h"
#include "utils/arguments.h"

namespace {

const char kUsage[] =
    "usage: verify_speakers [options] FIRST_WAV SECOND_WAV\n"
    "Exit status: 0 the same speaker, 3 different speakers, 4 no decision, 1 an error, 2 wrong usage.\n"
    "  --model FILE         ONNX file of speakerlab export (SPEAKER_ENGINE_MODEL)\n"
    "  --threshold T        smallest score that counts as the same speaker (the model's own)\n"
    "  --channel N          channel to listen to, from 0 (0)\n"
    "  --fbank-config FILE  for a file without metadata: fbank_config.json\n"
    "  --engine NAME        onnxruntime or openvino (onnxruntime)\n"
    "  --runtime PATH       ONNX Runtime's library, or a folder with it (looked for)\n"
    "  --precision P        fp32, or bf16 with openvino (fp32)\n"
    "  --threads N          of one network call, 0: all cores (0)\n"
    "  --json               one JSON object\n"
    "example: verify_speakers --model campplus.onnx ann1.wav ann2.wav\n";

int verify(int argc, char** argv) {
  const speaker::Arguments given(
      argc, argv, 2,
      {"--model", "--threshold", "--channel", "--fbank-config", "--engine", "--runtime", "--precision", "--threads"},
      {"--json"});
  const char* named = std::getenv("SPEAKER_ENGINE_MODEL");
  const std::string path = given.text("--model", named ? named : "");
  if (path.empty()) throw speaker::UsageError{"no model: give --model FILE"};
  speaker::Options options;
  options.engine = given.text("--engine", options.engine);
  options.runtime = given.text("--runtime", "");
  options.precision = given.text("--precision", options.precision);
  options.fbank_config = given.text("--fbank-config", "");
  options.channel = given.whole("--channel", 0, 0, 1023);
  options.num_threads = given.whole("--threads", 0, 0, 4096);
  std::optional<double> threshold;
  constexpr double kAny = std::numeric_limits<double>::max();
  if (given.has("--threshold")) threshold = given.number("--threshold", 0, -kAny, kAny);
  const speaker::Model model(path, options);
  for (const std::string& note : model.notes()) std::cerr << "note: " << note << "\n";
  const speaker::Decision decision = model.verify(given[0], given[1], threshold);
  std::cout << (given.has("--json") ? decision.json : decision.text) << "\n";
  return decision.label == "Same" ? 0 : decision.label == "Different" ? 3 : 4;
}

}  // namespace

int main(int argc, char** argv) {
  return speaker::run_program(argc, argv, kUsage, [&] { return verify(argc, argv); });
}
