#include "kernels/cpu/entries.h"
