// Places where a test can have a program killed, as by SIGKILL at the worst moment.
//
//   CYXWIZ_FAILPOINT=NAME:N         the process ends itself by SIGKILL at its N-th pass of the
//   place CYXWIZ_FAILPOINT=NAME:N:FILE    likewise, but once in all: only when it could create FILE
//
// For tests of CyxWiz only. The variable is read once, at the start; a value of another form is
// told on standard error and ignored, a name that no place has does nothing. Without it a pass
// costs the reading of one bool.
#pragma once

namespace cyxwiz {

// Name of a place: PROGRAM.WHAT.before or PROGRAM.WHAT.after.
#define CYXWIZ_FAILPOINT(name)                    \
  do {                                            \
    if (::cyxwiz::failpoint_armed) [[unlikely]] { \
      ::cyxwiz::PassFailpoint(name);              \
    }                                             \
  } while (false)

extern const bool failpoint_armed;
void PassFailpoint(const char* name);

}  // namespace cyxwiz
