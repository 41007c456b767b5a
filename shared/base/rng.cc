#include "shared/base/rng.h"
