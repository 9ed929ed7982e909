/* Are two recordings alike? embed_c MODEL.onnx FIRST.wav SECOND.wav */
#include <speaker_engine/c_api.h>
#include <stdio.h>

int main(int argc, char** argv) {
  float first[1024], second[1024];
  speaker_model* model = argc == 4 ? speaker_open(argv[1], NULL) : NULL;
  int failed =
      !model || speaker_embed_file(model, argv[2], first, 1024) || speaker_embed_file(model, argv[3], second, 1024);
  if (failed)
    fprintf(stderr, "%s\n", argc == 4 ? speaker_last_error() : "usage: embed_c MODEL.onnx FIRST.wav SECOND.wav");
  if (!failed) printf("%g\n", speaker_cosine(first, second, speaker_dim(model)));
  speaker_close(model);
  return failed;
}
