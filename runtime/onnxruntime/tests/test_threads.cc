// One model, many threads: every embedding is the same to the bit. test_threads MODEL.onnx A.wav [ENGINE]
#include <thread>
#include <vector>

#include "check.h"
#include "speaker_engine/speaker_model.h"

namespace {

constexpr int kThreads = 4;
constexpr int kRounds = 3;

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  speaker::Options options;
  if (argc > 3) options.engine = argv[3];
  const speaker::Model model(argv[1], options);
  const std::vector<float> alone = model.embed_file(argv[2]);
  CHECK(alone.size() == model.dim());
  std::vector<std::vector<float>> found(kThreads * kRounds);
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread)
    threads.emplace_back([&, thread] {
      for (int round = 0; round < kRounds; ++round)
        found[static_cast<std::size_t>(thread * kRounds + round)] = model.embed_file(argv[2]);
    });
  for (std::thread& thread : threads) thread.join();
  for (const auto& embedding : found) CHECK(embedding == alone);
  CHECK_THROWS(model.embed_file("no such file.wav"), "no such file");
  return finish();
}
