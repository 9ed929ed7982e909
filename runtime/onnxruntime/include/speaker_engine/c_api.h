/* The C interface: speaker embeddings and decisions from one ONNX file. Thread-safe: one model may serve many threads.
 *   speaker_model* model = speaker_open("model.onnx", NULL);
 *   speaker_embed_file(model, "a.wav", embedding, speaker_dim(model));
 * Functions that return int give 0, or -1 with the reason in speaker_last_error(). Nothing here ends the process. */
#ifndef SPEAKER_ENGINE_C_API_H
#define SPEAKER_ENGINE_C_API_H

#include <stddef.h>

#if defined(__GNUC__)
#define SPEAKER_API __attribute__((visibility("default")))
#else
#define SPEAKER_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct speaker_model speaker_model;

/* Fill with speaker_default_options() first: later versions may add fields at the end. */
typedef struct speaker_options {
  size_t size;              /* of this struct, set by speaker_default_options() */
  const char* engine;       /* "onnxruntime" or "openvino" */
  const char* runtime;      /* ONNX Runtime's library or its folder; NULL: looked for */
  const char* precision;    /* "fp32", or "bf16" with openvino */
  const char* fbank_config; /* fbank_config.json; NULL: the settings in the model's metadata */
  int num_threads;          /* of one network call; 0: all cores */
  int resample;             /* 1: audio of another rate is resampled; 0: refused */
  int channel;              /* to listen to, from 0; -1: the file must have one */
} speaker_options;

typedef enum speaker_label { SPEAKER_SAME = 0, SPEAKER_DIFFERENT = 3, SPEAKER_UNCERTAIN = 4 } speaker_label;

typedef struct speaker_decision {
  speaker_label label;
  double score;
  double threshold; /* NaN where the model has none */
  double llr;       /* natural log of the likelihood ratio; NaN where it is not known */
} speaker_decision;

SPEAKER_API void speaker_default_options(speaker_options* options);

/* NULL where it fails; `options` may be NULL. */
SPEAKER_API speaker_model* speaker_open(const char* onnx_path, const speaker_options* options);
SPEAKER_API void speaker_close(speaker_model* model);

SPEAKER_API size_t speaker_dim(const speaker_model* model);
SPEAKER_API int speaker_sample_rate(const speaker_model* model);

/* Write speaker_dim() floats to `embedding`, which has room for `capacity`. */
SPEAKER_API int speaker_embed_file(const speaker_model* model, const char* path, float* embedding, size_t capacity);
SPEAKER_API int speaker_embed_samples(const speaker_model* model, const float* samples, size_t num_samples,
                                      int sample_rate, float* embedding, size_t capacity);

/* Decide whether two recordings are of one speaker. `threshold` may be NULL: the model's own. `json`, where it is not
 * NULL, receives the whole answer, to be freed with speaker_free(). */
SPEAKER_API int speaker_verify_files(const speaker_model* model, const char* first_path, const char* second_path,
                                     const double* threshold, speaker_decision* decision, char** json);
SPEAKER_API void speaker_free(char* text);

/* Within [-1, 1]; 0 where one is zero. */
SPEAKER_API double speaker_cosine(const float* first, const float* second, size_t dim);

/* Why the last call of this thread failed, in one line; empty where none did. Valid until the thread's next call. */
SPEAKER_API const char* speaker_last_error(void);

/* Name and version of the runtime, such as "ONNX Runtime 1.31.1"; valid as long as the model. */
SPEAKER_API const char* speaker_runtime(const speaker_model* model);

/* 1 until a change that old programs would not survive. */
SPEAKER_API int speaker_abi_version(void);

#ifdef __cplusplus
}
#endif

#endif /* SPEAKER_ENGINE_C_API_H */
