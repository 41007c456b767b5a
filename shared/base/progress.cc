#include "shared/base/progress.h"
