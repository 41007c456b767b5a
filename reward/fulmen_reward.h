/* Reward functions in C, or anything that can export a C function: reward.functions: [c:libmine.so].
 *
 * A library exports fulmen_reward_library(). It is loaded in a process of its own, which is killed when a call passes
 * its deadline and started again when it dies; what it prints to stdout goes to the log. score() is called by one
 * thread at a time. Nothing here is owned by the library: texts live until score() returns.
 *
 *     #include "reward/fulmen_reward.h"
 *     static int score(void* state, const fulmen_reward_record* r, size_t n, fulmen_reward_verdict* v) {
 *       for (size_t i = 0; i < n; ++i) v[i].score = r[i].response.size == r[i].ground_truth.size;
 *       return 0;
 *     }
 *     const fulmen_reward_functions* fulmen_reward_library(uint32_t abi) {
 *       static const fulmen_reward_functions kFunctions = {FULMEN_REWARD_ABI, sizeof kFunctions, 0, 0, 0, score, 0};
 *       return abi == FULMEN_REWARD_ABI ? &kFunctions : 0;
 *     }
 *
 * Later versions only add fields at the end of a struct and say so in struct_bytes; FULMEN_REWARD_ABI changes when that
 * is not enough, and then a library built for another version is refused by name. */
#ifndef FULMEN_REWARD_H
#define FULMEN_REWARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FULMEN_REWARD_ABI 1u

typedef struct fulmen_reward_text {
  const char* data; /* UTF-8, with a NUL behind it; NULL when the record has none */
  size_t size;      /* bytes, without the NUL */
} fulmen_reward_text;

typedef struct fulmen_reward_record {
  uint32_t struct_bytes;
  int32_t deadline_ms; /* 0: the function's own limit */
  int64_t tokens;      /* of the response; -1: not known */
  fulmen_reward_text kind, data_source, prompt, response, ground_truth;
  fulmen_reward_text extra_info; /* JSON object */
} fulmen_reward_record;

enum { FULMEN_REWARD_SCORE = 0, FULMEN_REWARD_ERROR = 2, FULMEN_REWARD_UNPARSABLE = 3, FULMEN_REWARD_UNDECIDED = 4 };

typedef struct fulmen_reward_component {
  char name[48];
  double score;
} fulmen_reward_component;

/* Zeroed before the call: a verdict that is not touched is a score of 0. */
typedef struct fulmen_reward_verdict {
  uint32_t struct_bytes;
  int32_t kind; /* FULMEN_REWARD_SCORE ... */
  double score; /* finite */
  uint32_t components;
  fulmen_reward_component component[8];
  char detail[256];
} fulmen_reward_verdict;

typedef struct fulmen_reward_functions {
  uint32_t abi; /* FULMEN_REWARD_ABI */
  uint32_t struct_bytes;
  uint32_t batch;      /* records wanted in one call; 0 is 1 */
  uint32_t no_truth;   /* 1: works without a ground_truth */
  void* (*open)(void); /* may be NULL; what it returns is handed to score and close */
  int (*score)(void* state, const fulmen_reward_record* records, size_t n, fulmen_reward_verdict* verdicts);
  void (*close)(void* state); /* may be NULL */
} fulmen_reward_functions;

/* score() returns 0, or another number for an error of all n records. */

#ifdef __GNUC__
__attribute__((visibility("default")))
#endif
const fulmen_reward_functions*
fulmen_reward_library(uint32_t abi);

#ifdef __cplusplus
}
#endif
#endif
