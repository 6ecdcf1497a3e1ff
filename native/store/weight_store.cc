#include "store/weight_store.h"

#include <iterator>

#include "base/error.h"
#include "store/json_scanner.h"

namespace lutra::store {

WeightStore WeightStore::open(std::span<const std::string> paths) {
  WeightStore store;
  store.files_.reserve(paths.size());
  for (const std::string& path : paths) {
    const SafetensorsFile& file = store.files_.emplace_back(path);
    for (const auto& [name, tensor] : file.tensors()) {
      if (name.starts_with("__")) continue;  // padding of this file
      const auto [place, fresh] = store.index_.emplace(name, &tensor);
      if (!fresh) {
        throw Error(ErrorCode::kBadFile, "tensor " + quote(name) + " is in '" + place->second->file->path() + "' and in '" + path + "'",
                    "give each file once, and files of one model only");
      }
    }
  }
  return store;
}

const Tensor& WeightStore::find(std::string_view name) const {
  const auto place = index_.lower_bound(name);
  if (place != index_.end() && place->first == name) return *place->second;
  std::string message = "there is no tensor " + quote(name) + " in ";
  for (size_t i = 0; i < files_.size(); ++i) message += (i == 0 ? "'" : ", '") + files_[i].file().path() + "'";
  if (files_.empty()) message += "a store without files";
  // The neighbours in the order of names share the longest beginning.
  std::string near;
  if (place != index_.begin()) near += " " + quote(std::prev(place)->first);
  if (place != index_.end()) near += (near.empty() ? " " : " and ") + quote(place->first);
  if (!near.empty()) message += "; the nearest names are" + near;
  throw Error(ErrorCode::kNotFound, message, "the model directory does not fit the plan: convert the model again");
}

bool WeightStore::contains(std::string_view name) const noexcept { return index_.find(name) != index_.end(); }

uint64_t WeightStore::total_bytes() const noexcept {
  uint64_t sum = 0;
  for (const SafetensorsFile& file : files_) sum += file.data_bytes();
  return sum;
}

void WeightStore::release(const Tensor& tensor) const noexcept {
  if (tensor.file == nullptr || tensor.data.empty()) return;
  tensor.file->advise(MappedFile::Advice::kDontNeed, static_cast<size_t>(tensor.data.data() - tensor.file->bytes().data()), tensor.data.size());
}

}  // namespace lutra::store
