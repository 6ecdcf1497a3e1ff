#include "store/weight_store.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "store/json_scanner.h"

namespace lutra::store {

WeightStore WeightStore::open(std::span<const std::string> paths) {
  WeightStore store;
  store.files_.reserve(paths.size());
  size_t names = 0;
  for (const std::string& path : paths) {
    store.files_.emplace_back(path);
    names += store.files_.back().tensors().size();
  }
  store.index_.reserve(names);
  for (const SafetensorsFile& file : store.files_) {
    for (const auto& [name, tensor] : file.tensors()) {
      if (!name.starts_with("__")) store.index_.push_back(&tensor);  // the others are padding of this file
    }
  }
  // Stable, so that the message below names the files in their order.
  std::stable_sort(store.index_.begin(), store.index_.end(), [](const Tensor* a, const Tensor* b) { return a->name < b->name; });
  const auto twice = std::adjacent_find(store.index_.begin(), store.index_.end(), [](const Tensor* a, const Tensor* b) { return a->name == b->name; });
  if (twice != store.index_.end()) {
    throw Error(ErrorCode::kBadFile, "tensor " + quote((*twice)->name) + " is in '" + twice[0]->file->path() + "' and in '" + twice[1]->file->path() + "'",
                "give each file once, and files of one model only");
  }
  return store;
}

std::vector<const Tensor*>::const_iterator WeightStore::place_of(std::string_view name) const noexcept {
  return std::lower_bound(index_.begin(), index_.end(), name, [](const Tensor* tensor, std::string_view wanted) { return tensor->name < wanted; });
}

const Tensor& WeightStore::find(std::string_view name) const {
  const auto place = place_of(name);
  if (place != index_.end() && (*place)->name == name) return **place;
  std::string message = "there is no tensor " + quote(name) + " in ";
  for (size_t i = 0; i < files_.size(); ++i) message += (i == 0 ? "'" : ", '") + files_[i].file().path() + "'";
  if (files_.empty()) message += "a store without files";
  // The neighbours in the order of names share the longest beginning.
  std::string near;
  if (place != index_.begin()) near += " " + quote((*std::prev(place))->name);
  if (place != index_.end()) near += (near.empty() ? " " : " and ") + quote((*place)->name);
  if (!near.empty()) message += "; the nearest names are" + near;
  throw Error(ErrorCode::kNotFound, message, "the model directory does not fit the plan: convert the model again");
}

bool WeightStore::contains(std::string_view name) const noexcept {
  const auto place = place_of(name);
  return place != index_.end() && (*place)->name == name;
}

uint64_t WeightStore::total_bytes() const noexcept {
  uint64_t sum = 0;
  for (const SafetensorsFile& file : files_) sum += file.data_bytes();
  return sum;
}

void WeightStore::check_intact() const {
  for (const SafetensorsFile& file : files_) {
    if (!file.file().torn()) continue;
    throw Error(ErrorCode::kIo, "'" + file.file().path() + "' became shorter, or could not be read, while it was in use", "restore the file, then load the model again");
  }
}

void WeightStore::release(const Tensor& tensor) const noexcept {
  if (tensor.file == nullptr || tensor.data.empty()) return;
  tensor.file->advise(MappedFile::Advice::kDontNeed, static_cast<size_t>(tensor.data.data() - tensor.file->bytes().data()), tensor.data.size());
}

}  // namespace lutra::store
