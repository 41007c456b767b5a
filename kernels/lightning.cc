#include "kernels/lightning.h"
