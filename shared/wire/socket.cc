#include "shared/wire/socket.h"
