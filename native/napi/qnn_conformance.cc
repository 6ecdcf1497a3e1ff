// The conformance table: its cases, and one of them on one library. lib/qnn/probe runs them in child processes, because some crash their library.
#include <cmath>
#include <utility>

#include "conformance/trial.h"
#include "napi/arguments.h"
#include "napi/qnn_api.h"
#include "napi/qnn_values.h"

namespace lutra::addon {
namespace {

using conformance::Case;
using conformance::Subject;
using conformance::Trial;
using TrialHandle = Owner<Trial>;

Subject subject_of(const Napi::Object& o) {
  Subject subject;
  subject.host = boolean_or(o, "host", false);
  subject.arch = optional_u32(o, "arch").value_or(subject.arch);
  return subject;
}

/// cases({host, arch}): what the library that these words describe is expected to do.
Napi::Value cases(const Napi::CallbackInfo& info, Environment&) {
  const Subject subject = subject_of(Arguments(info).object(0));
  Napi::Array list = Napi::Array::New(info.Env());
  for (const Case& c : conformance::all_cases()) {
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("name", c.name);
    o.Set("expected", c.expected_of(subject) == conformance::Expected::kOk ? "ok" : "refused");
    o.Set("form", c.expected == conformance::Expected::kOk);
    o.Set("bound", conformance::bound_name(c.bound_of(subject)));
    o.Set("exception", subject.host ? "" : c.exception);
    o.Set("remedy", c.remedy);
    list.Set(list.Length(), o);
  }
  return list;
}

/// prepareCase(name): {trial, forms}. Computes the reference, and asks nothing of a library.
Napi::Value prepare_case(const Napi::CallbackInfo& info, Environment&) {
  const std::string name = checked_name(info[0], "the case's name");
  for (const Case& c : conformance::all_cases()) {
    if (c.name != name) continue;
    auto trial = std::make_shared<Trial>(c);
    Napi::Array forms = Napi::Array::New(info.Env());
    for (const std::string& form : trial->forms()) forms.Set(forms.Length(), form);
    Napi::Object o = Napi::Object::New(info.Env());
    o.Set("trial", wrap(info.Env(), std::make_shared<TrialHandle>(std::move(trial), "case")));
    o.Set("forms", forms);
    return o;
  }
  throw Error(ErrorCode::kNotFound, "there is no conformance case '" + name + "'", "lutra qnn probe --list names them");
}

/// runCase(trial, device, {host, arch}).
Napi::Value run_case(const Napi::CallbackInfo& info, Environment&) {
  const auto trial = unwrap_as<TrialHandle>(info[0], "case")->get();
  const auto device = unwrap_as<DeviceHandle>(info[1], "device")->get();
  const conformance::Result result = trial->run(device, subject_of(Arguments(info).object(2)));
  Napi::Object o = Napi::Object::New(info.Env());
  o.Set("verdict", conformance::verdict_name(result.verdict));
  o.Set("message", result.message);
  o.Set("ms", result.ms);
  if (result.verdict == conformance::Verdict::kRefused) return o;
  Napi::Object figures = Napi::Object::New(info.Env());
  figures.Set("steps", result.figures.steps);
  figures.Set("equal", result.figures.equal);
  if (std::isfinite(result.figures.nmse)) figures.Set("nmse", result.figures.nmse);
  o.Set("figures", figures);
  return o;
}

}  // namespace

void add_conformance_calls(QnnTable& table) {
  table.add("cases", cases);
  table.add("prepareCase", prepare_case);
  table.add("runCase", run_case);
}

}  // namespace lutra::addon
