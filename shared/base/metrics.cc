#include "shared/base/metrics.h"
