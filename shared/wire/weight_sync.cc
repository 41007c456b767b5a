#include "shared/wire/weight_sync.h"
