#include "kernels/sampler.h"
