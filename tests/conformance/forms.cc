#include "forms.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <stdexcept>

namespace lutra::conformance {
namespace {

struct Type {
  std::string text;  // "u8:2"
  uint64_t length;   // of the last dimension
};
using Types = std::map<std::string, Type>;

/// Every "name: type[dims]" of a line.
void define(const std::string& line, Types& types) {
  static const std::regex kTensor(R"(([\w.]+): (\w+)\[([^\]]*)\])");
  for (std::sregex_iterator it(line.begin(), line.end(), kTensor), end; it != end; ++it) {
    const std::string dims = (*it)[3];
    const size_t last = dims.find_last_of(", ");  // also the space of "chunk 8"
    types[(*it)[1]] = {(*it)[2].str() + ":" + std::to_string(1 + std::count(dims.begin(), dims.end(), ',')),
                       std::stoull(last == std::string::npos ? dims : dims.substr(last + 1))};
  }
}

/// "Op(a, b) {…} -> y: …", indented twice, is a node.
void add_form(const std::string& line, const Types& types, std::set<std::string>& forms) {
  static const std::regex kNode(R"(^    ([A-Z]\w*)\(([^)]*)\).* -> ([\w.]+): )");
  static const std::regex kName(R"([\w.]+)");
  std::smatch node;
  if (!std::regex_search(line, node, kNode)) return;
  const auto type = [&](const std::string& name) -> const Type& {
    const auto found = types.find(name);
    if (found == types.end()) throw std::runtime_error("a printed plan uses the unknown tensor " + name);
    return found->second;
  };
  const std::string op = node[1], arguments = node[2];
  std::string form = op + "(", unaligned;
  for (std::sregex_iterator begin(arguments.begin(), arguments.end(), kName), it = begin, end; it != end; ++it) {
    const Type& input = type(it->str());
    form += (it == begin ? "" : ", ") + input.text;
    if (it == begin && (op == "FullyConnected" || op == "Conv2d") && input.length % 4 != 0) unaligned = " unaligned";
  }
  forms.insert(form + ") -> " + type(node[3]).text + unaligned);
}

}  // namespace

std::set<std::string> forms_of_plans(const std::string& directory) {
  std::set<std::string> forms;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() != ".txt") continue;
    Types types;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      define(line, types);
      add_form(line, types, forms);
    }
  }
  return forms;
}

}  // namespace lutra::conformance
