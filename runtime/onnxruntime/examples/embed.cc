// Are two recordings alike? embed MODEL.onnx FIRST.wav SECOND.wav
#include <iostream>
#include <speaker_engine/speaker_model.h>

int main(int argc, char** argv) try {
  if (argc != 4) throw speaker::Error("usage: embed MODEL.onnx FIRST.wav SECOND.wav");
  const speaker::Model model(argv[1]);
  std::cout << speaker::cosine(model.embed_file(argv[2]), model.embed_file(argv[3])) << "\n";
} catch (const speaker::Error& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
