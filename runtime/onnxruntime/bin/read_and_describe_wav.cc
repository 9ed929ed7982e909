// What the header of an audio file says, in one line.
#include <iostream>
#include <nlohmann/json.hpp>

#include "utils/arguments.h"
#include "utils/audio.h"

namespace {

const char kUsage[] =
    "usage: read_and_describe_wav [--json] WAV_FILE\n"
    "Exit status: 0, or 1 where the file cannot be read.\n"
    "example: read_and_describe_wav a.wav\n";

int describe(int argc, char** argv) {
  const speaker::Arguments given(argc, argv, 1, {}, {"--json"});
  const speaker::AudioFormat found = speaker::describe_audio(given[0]);
  // The samples are read too: a file that ends early is no valid one.
  const speaker::Audio audio = speaker::read_audio(given[0], 0);
  const double seconds = audio.duration_s();
  if (given.has("--json")) {
    const nlohmann::ordered_json told = {{"sample_rate", found.sample_rate},
                                         {"num_channels", found.num_channels},
                                         {"num_samples", audio.samples.size()},
                                         {"duration_s", seconds},
                                         {"bits_per_sample", found.bits_per_sample}};
    std::cout << told.dump() << "\n";
    return 0;
  }
  std::cout << "Sample rate: " << found.sample_rate << " Num Channel: " << found.num_channels
            << " Num Sample: " << audio.samples.size() << " Duration: " << seconds
            << " Bits Per Sample: " << found.bits_per_sample << "\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return speaker::run_program(argc, argv, kUsage, [&] { return describe(argc, argv); });
}
