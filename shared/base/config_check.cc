#include "shared/base/config.h"
