#include "kernels/lm_head.h"
