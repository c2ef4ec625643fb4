// Endpoints as Python tells the front of them.

#ifndef MAINSPRING_BINDINGS_FRONT_ENDPOINTS_H_
#define MAINSPRING_BINDINGS_FRONT_ENDPOINTS_H_

#include <pybind11/pybind11.h>

#include <string>

#include "mainspring/front.h"

namespace mainspring {

// JSON writes these as they are. Raises.
void CheckPlain(const std::string& text, const std::string& what);
// And paths these: with others the app would read a path as another one.
void CheckPath(const std::string& text, const std::string& what);

// A dict as mainspring.native.front makes it. Needs the GIL; what it gives holds no Python object. Raises
// bad_spec, bad_dtype.
FrontEndpoint ToEndpoint(const pybind11::dict& from);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_FRONT_ENDPOINTS_H_
