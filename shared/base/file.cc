#include "shared/base/file.h"
