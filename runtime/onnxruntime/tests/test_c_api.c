/* The C interface, compiled as C: answers, and what bad calls give. test_c_api MODEL.onnx A.wav B.wav */
#include <math.h>
#include <speaker_engine/c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int num_failed = 0;
#define CHECK(condition)                                                                \
  if (!(condition)) {                                                                   \
    ++num_failed;                                                                       \
    printf("%d: does not hold: %s (%s)\n", __LINE__, #condition, speaker_last_error()); \
  }

static void test_errors(const speaker_model* model, float* embedding) {
  speaker_options options;
  CHECK(speaker_open(NULL, NULL) == NULL);
  CHECK(strcmp(speaker_last_error(), "onnx_path is NULL") == 0);
  CHECK(speaker_open("none.onnx", NULL) == NULL);
  CHECK(strcmp(speaker_last_error(), "none.onnx: no such file") == 0);
  CHECK(speaker_embed_file(model, "none.wav", embedding, 1024) == -1);
  CHECK(strcmp(speaker_last_error(), "none.wav: no such file") == 0);
  CHECK(speaker_embed_file(NULL, "none.wav", embedding, 1024) == -1);
  CHECK(speaker_embed_samples(model, NULL, 5, 16000, embedding, 1024) == -1);
  CHECK(speaker_dim(NULL) == 0);
  memset(&options, 0, sizeof options);
  CHECK(speaker_open("none.onnx", &options) == NULL);
  CHECK(strstr(speaker_last_error(), "speaker_default_options") != NULL);
}

int main(int argc, char** argv) {
  float first[1024], second[1024];
  speaker_options options;
  speaker_decision decision;
  char* json = NULL;
  speaker_model* model;
  double threshold = 0.999999;
  if (argc != 4) return 2;
  speaker_default_options(&options);
  model = speaker_open(argv[1], &options);
  CHECK(model != NULL);
  if (!model) return 1;
  CHECK(speaker_abi_version() == 1);
  CHECK(speaker_sample_rate(model) == 16000);
  CHECK(strncmp(speaker_runtime(model), "ONNX Runtime 1.", 15) == 0);
  CHECK(speaker_embed_file(model, argv[2], first, speaker_dim(model)) == 0);
  CHECK(speaker_embed_file(model, argv[2], second, speaker_dim(model)) == 0);
  CHECK(memcmp(first, second, speaker_dim(model) * sizeof(float)) == 0);
  CHECK(fabs(speaker_cosine(first, second, speaker_dim(model)) - 1) < 1e-12);
  CHECK(speaker_embed_file(model, argv[2], first, speaker_dim(model) - 1) == -1);
  CHECK(strstr(speaker_last_error(), "has room for") != NULL);
  CHECK(speaker_verify_files(model, argv[2], argv[2], NULL, &decision, &json) == 0);
  CHECK(decision.label == SPEAKER_SAME && decision.score > 0.99999 && decision.threshold > 0.3 && decision.llr > 10);
  CHECK(json != NULL && strstr(json, "\"label\":\"Same\"") != NULL);
  speaker_free(json);
  CHECK(speaker_verify_files(model, argv[2], argv[3], &threshold, &decision, NULL) == 0);
  CHECK(decision.label == SPEAKER_DIFFERENT && decision.threshold == threshold);
  test_errors(model, first);
  speaker_close(model);
  speaker_close(NULL);
  return num_failed != 0;
}
