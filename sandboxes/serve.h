#pragma once
// `fulmen-sandbox serve`: requests on one descriptor, replies on the other, one at a time, until the first closes.
//
// A message is one line of JSON and then the bytes it announces in "sizes", back to back.
//   request  {"op":"run", "language":L, "stage":"run"|"compile", "limits":{...}, "argv":[...], "fetch":PATH,
//             "programs":[{"warm":bool, "files":[{"path","executable"}]}], "sizes":[...]}
//            blobs: for each program its payload (when warm), its stdin, its files. Two programs are a pair (slot.h).
//            argv and fetch are the profile's unless given; limits: keys of profile.h, over those of the profile.
//   reply    {"results":[{"outcome","reason","exit_code","signal","cpu_ms","wall_ms","kill_ms","memory_kb",
//             "fetched":[{"path","executable"}]}], "sizes":[...]}   blobs: out, err, result, fetched files, for each
//            {"error":TEXT} for a request that is not one.
//   {"op":"profiles"} -> {"languages":[{"language","source","compiled":bool,"warm":bool}], "sizes":[]}
// Expected outputs have no place in a request.

#include <map>
#include <string>

#include "sandboxes/profile.h"
#include "sandboxes/slot.h"

namespace fulmen::sandboxes {

void serve(int in, int out, const std::map<std::string, Profile>& profiles, const SlotOptions& options);

}  // namespace fulmen::sandboxes
