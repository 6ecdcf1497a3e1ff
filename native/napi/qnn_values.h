// JavaScript values to the descriptions of native/qnn and back. Everything that is read is checked; what is wrong is Error(kInvalidArgument) naming the field.
#pragma once

#include <napi.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qnn/graph.h"
#include "qnn/system.h"

namespace lutra::addon {

/// Names go into C strings: not empty, no NUL, at most 1024 bytes.
std::string checked_name(const Napi::Value& value, const std::string& what);

/// array_bytes of every element of a JavaScript array.
std::vector<std::span<std::byte>> arrays_bytes(const Napi::Value& value, const std::string& what);

std::optional<uint32_t> optional_u32(const Napi::Object& object, const char* name);

/// {name, dtype: QNN's number, dims: number[], encoding?}; `data` is left empty.
qnn::TensorDesc tensor_desc(const Napi::Object& object);
/// {name, type, inputs: (index | null)[], outputs: index[], params}; index: what addTensor returned.
qnn::NodeDesc node_desc(const Napi::Object& object);
/// The field `measurements`, [{provider, buildId, backendApiVersion: [major, minor], refusals: [{form, message, remedy}]}], or none.
std::vector<qnn::Measurement> measurements(const Napi::Object& options);
/// {optimization?, vtcmMb?, hvxThreads?}
qnn::GraphOptions graph_options(const Napi::Object& object);

Napi::Object description_object(Napi::Env env, const qnn::BinaryDescription& description);
Napi::Array events_array(Napi::Env env, const std::vector<qnn::ProfileEvent>& events);
Napi::Array numbers(Napi::Env env, const std::vector<uint32_t>& values);

}  // namespace lutra::addon
