// Where the DSP finds its part of a QNN library.
#pragma once

#include <string>

namespace lutra::qnn {

/// The name of the variable that FastRPC reads when its first session begins. Its entries are separated by ';': a list with ':' is one folder to it.
inline constexpr const char* kAdspVariable = "ADSP_LIBRARY_PATH";

/// The value that the variable needs for `library`, the path of a backend library: its folder before what `current` lists. `current` itself when no Skel library
/// (libQnnHtpV*Skel.so) lies beside `library`, or the folder is listed already.
std::string adsp_path(const std::string& library, const std::string& current);

/// Gives the variable that value in this process. JavaScript cannot on other threads than the main one, where the environment is a copy. To be called before the library is opened.
void set_adsp_path(const std::string& library);

}  // namespace lutra::qnn
