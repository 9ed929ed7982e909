// Embeddings of the recordings of a wav.scp, as text files or a Kaldi archive, with an scp that lists them.
#include <iostream>

#include "bin/list_run.h"
#include "speaker_engine/speaker_model.h"
#include "utils/byte_source.h"
#include "utils/sha256.h"

namespace {

using speaker::Arguments;

const std::string kUsage =
    std::string(
        "usage: extract_speaker_embedding [options] FBANK_CONFIG ONNX_FILE WAV_SCP EMBEDDING_SCP EMBEDDING_DIR\n"
        "FBANK_CONFIG: fbank_config.json, or - for the settings in the model's metadata\n"
        "  --engine NAME        onnxruntime or openvino (onnxruntime)\n"
        "  --runtime PATH       ONNX Runtime's library, or a folder with it (looked for)\n"
        "  --precision P        fp32, or bf16 with openvino (fp32)\n"
        "  --threads N          of one network call, 0: all cores (1)\n") +
    speaker::kListUsage +
    "example: extract_speaker_embedding assets/fbank_config.json campplus.onnx wav.scp embedding.scp embeddings\n";

speaker::Options options_of(const Arguments& given) {
  speaker::Options options;
  options.engine = given.text("--engine", options.engine);
  options.runtime = given.text("--runtime", "");
  options.precision = given.text("--precision", options.precision);
  options.num_threads = given.whole("--threads", 1, 0, 4096);
  options.fbank_config = given[0] == "-" ? "" : given[0];
  options.resample = given.has("--resample");
  return options;
}

std::string digest_of(const std::string& path) {
  const auto bytes = speaker::read_file(path, std::uint64_t{1} << 31);
  return speaker::sha256_hex(bytes.data(), bytes.size());
}

int extract(int argc, char** argv) {
  std::set<std::string> names = speaker::kListOptions;
  names.insert({"--engine", "--runtime", "--precision", "--threads"});
  const Arguments given(argc, argv, 5, names, speaker::kListFlags);
  const speaker::Options options = options_of(given);
  const speaker::Model model(given[1], options);
  for (const std::string& note : model.notes()) std::cerr << "note: " << note << "\n";
  const std::string config = options.fbank_config.empty() ? "-" : digest_of(options.fbank_config);
  const speaker::ListRun run{speaker::ResultKind::kEmbedding, given[2], given[3], given[4],
                             digest_of(given[1]) + " " + config + " " + options.precision};
  return speaker::run_list(run, given, [&](const speaker::ScpEntry& entry) {
    const speaker::Audio audio = speaker::read_entry(entry, run.wav_scp, given);
    speaker::Outcome outcome;
    outcome.audio_s = audio.duration_s();
    const auto embedding = model.embed(audio.samples.data(), audio.samples.size(), audio.sample_rate, entry.source);
    outcome.values = speaker::Matrix(1, embedding.size());
    outcome.values.values = embedding;
    return outcome;
  });
}

}  // namespace

int main(int argc, char** argv) {
  return speaker::run_program(argc, argv, kUsage, [&] { return extract(argc, argv); });
}
