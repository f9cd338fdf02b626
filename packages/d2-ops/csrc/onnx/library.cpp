// What ONNX Runtime calls when it loads the library.
#include <sstream>

#include "d2_ops/platform.h"
#include "kernel.h"
#include "operators.h"

// The namespace is a macro; these two levels let it expand before it is made a text.
#define D2_OPS_TEXT(name) D2_OPS_TEXT_EXPANDED(name)
#define D2_OPS_TEXT_EXPANDED(name) #name

namespace d2_ops {
namespace {

// Sessions share it. It is not given back: the runtime may be gone before this library.
void* new_domain(ort::Table table) {
  void* domain = nullptr;
  check(table, ort::create_custom_op_domain(table, D2_OPS_TEXT(D2_OPS_NAMESPACE), &domain));
  for (const ort::OrtCustomOp* op : {nms_rotated_operator(), box_iou_rotated_operator(), roi_align_rotated_operator(),
                                     decode_rotated_boxes_operator(), deform_columns_operator()})
    check(table, ort::add_to_domain(table, domain, op));
  return domain;
}

}  // namespace
}  // namespace d2_ops

extern "C" D2_OPS_EXPORT void* RegisterCustomOps(void* options, const onnxruntime_table::OrtApiBase* base) {
  using namespace d2_ops;
  const ort::Table oldest = base->GetApi(1), table = base->GetApi(ort::kOldest);
  return status_of(oldest, [&] {
    if (table == nullptr) {
      std::ostringstream message;
      message << D2_OPS_TEXT(D2_OPS_NAMESPACE) << "'s operators need ONNX Runtime 1." << ort::kOldest
              << " or later, this is " << base->GetVersionString();
      throw std::runtime_error(message.str());
    }
    static void* const domain = new_domain(table);
    check(table, ort::add_domain(table, options, domain));
  });
}
