// A context binary with what is needed to use it again: the key that says what it was built from, and its graphs' tensor ids.
//
// Layout (little endian): u32 magic "LULQ", u32 version, u32 bytes of the key, u32 number of graphs, u64 bytes of the binary, u64 checksum of
// everything else; then the key; per graph u32 {bytes of name, inputs, outputs}, the name, the ids (u32 each); padding to 64 bytes; the binary.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qnn/context.h"
#include "qnn/graph.h"

namespace lutra::qnn {

/// The image of `context`, which holds exactly `graphs`, all finalized. `key` names everything that the graphs depend on (plan, weights, build id of the library,
/// SoC); see decode_image. Throws as Context::binary does.
std::vector<std::byte> encode_image(std::string_view key, const Context& context, std::span<const GraphIds> graphs);

/// Writes the checksum of an image whose other bytes are there. Does nothing to bytes that have no room for a header.
void seal_image(std::span<std::byte> image) noexcept;

/// A view of an image; points into the bytes that were decoded.
struct ImageView {
  std::string_view key;
  std::vector<GraphIds> graphs;
  std::span<const std::byte> binary;  // for Context::from_binary

  /// nullptr when the image has no such graph.
  const GraphIds* find(std::string_view name) const noexcept;
};

/// Reads an image; the caller then compares the key before it makes a context. The checksum is verified, because libraries crash on damaged binaries.
/// Throws Error(kBadFile) when the bytes are not a whole, undamaged image of this version.
ImageView decode_image(std::span<const std::byte> bytes);

}  // namespace lutra::qnn
