// Encodings of the interface as the host NPU keeps them: a scale per tensor or per index of an axis. Narrow weights are spread to whole codes when they are created.
#pragma once

#include "hostnpu/tensor.h"

namespace lutra::hostnpu {

/// The encoding of a description whose name and dimensions are read already. Throws Failure.
Quantization parse_quantization(const abi::QuantizeParams& params, const TensorInfo& info);

/// The data of a STATIC tensor: 4- and 2-bit values (BW, BW_AXIS) with their sign spread to the byte, block scales (BLOCKWISE_EXPANSION) multiplied into the codes. All
/// others as they are. Throws Failure when a product does not fit a byte.
std::shared_ptr<StaticData> make_static(const abi::QuantizeParams& params, const TensorInfo& info, std::span<const std::byte> bytes);

}  // namespace lutra::hostnpu
