#include "hostnpu/op.h"

namespace lutra::hostnpu {

const std::vector<const OpDefinition*>& op_definitions() {
  // Never destroyed: a process may end while another thread builds graphs.
  static const auto& all = *new const std::vector<const OpDefinition*>([] {
    std::vector<const OpDefinition*> list;
    for (const auto family : {convert_ops(), linear_ops(), conv_ops(), conv_transpose_ops(), pool_ops(), image_ops(), elementwise_ops(), norm_ops(), softmax_ops(), reduce_ops(), search_ops(),
                              scan_ops(), shape_ops(), pad_ops(), index_ops()}) {
      for (const OpDefinition& op : family) list.push_back(&op);
    }
    return list;
  }());
  return all;
}

const OpDefinition* find_op(std::string_view type) {
  for (const OpDefinition* op : op_definitions()) {
    if (type == op->type) return op;
  }
  return nullptr;
}

}  // namespace lutra::hostnpu
