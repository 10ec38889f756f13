#include "export/torchscript_source.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace cyxwiz::exporting {
namespace {

// Words of Python and TorchScript, and what every module has.
bool IsReserved(std::string_view name) {
  static const std::set<std::string_view> kReserved = {"Ellipsis",
                                                       "False",
                                                       "None",
                                                       "NoneType",
                                                       "True",
                                                       "and",
                                                       "as",
                                                       "assert",
                                                       "async",
                                                       "await",
                                                       "break",
                                                       "class",
                                                       "continue",
                                                       "def",
                                                       "del",
                                                       "elif",
                                                       "else",
                                                       "except",
                                                       "finally",
                                                       "for",
                                                       "from",
                                                       "global",
                                                       "if",
                                                       "import",
                                                       "in",
                                                       "is",
                                                       "lambda",
                                                       "nonlocal",
                                                       "not",
                                                       "or",
                                                       "pass",
                                                       "raise",
                                                       "return",
                                                       "try",
                                                       "while",
                                                       "with",
                                                       "yield",
                                                       "forward",
                                                       "training",
                                                       "__annotations__",
                                                       "__buffers__",
                                                       "__forward_hooks__",
                                                       "__forward_pre_hooks__",
                                                       "__parameters__"};
  return kReserved.contains(name);
}

bool IsIdentifier(std::string_view name) {
  return name.find('-') == std::string_view::npos && (name[0] < '0' || name[0] > '9');
}

std::string Member(const std::string& of, const std::string& name) {
  return IsIdentifier(name) ? of + "." + name : "getattr(" + of + ", \"" + name + "\")";
}

}  // namespace

std::string ScriptSource::Names::Give(std::string name) {
  while (IsReserved(name) || given.contains(name)) name += '_';
  given.insert(name);
  return name;
}

std::string ScriptSource::Set(const std::string& expression) {
  std::string variable = "x" + std::to_string(++variables_);
  statements_ += "  " + variable + " = " + expression + "\n";
  return variable;
}

void ScriptSource::InTraining(const std::string& statement) {
  statements_ += "  if self.training:\n    " + statement + "\n";
}

std::string ScriptSource::AddTensor(const std::string& name, TensorView view, bool trainable) {
  std::string expression = "self";
  TorchScript::Tensor tensor{{}, std::move(view), trainable};
  Names* names = &names_;
  size_t begin = 0;
  for (size_t dot; (dot = name.find('.', begin)) != std::string::npos; begin = dot + 1) {
    Names::Module& module = names->modules[name.substr(begin, dot - begin)];
    if (module.names == nullptr) {
      module = {names->Give(name.substr(begin, dot - begin)), std::make_unique<Names>()};
    }
    tensor.path.push_back(module.name);
    expression = Member(expression, module.name);
    names = module.names.get();
  }
  tensor.path.push_back(names->Give(name.substr(begin)));
  expression = Member(expression, tensor.path.back());
  tensors_.push_back(std::move(tensor));
  return expression;
}

TorchScript ScriptSource::Finish(const std::string& result) {
  return {std::move(tensors_), "def forward(self, " + std::string(kInput) +
                                   ": Tensor) -> Tensor:\n" + statements_ + "  return " + result +
                                   "\n"};
}

std::string ScriptList(const std::vector<int64_t>& numbers) {
  std::string list;
  for (int64_t number : numbers) list += (list.empty() ? "" : ", ") + std::to_string(number);
  return "[" + list + "]";
}

std::string ScriptNumber(double number) {
  if (std::isinf(number)) return number > 0 ? "float(\"inf\")" : "float(\"-inf\")";
  std::array<char, 32> digits;
  auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
  std::string text(digits.data(), end);
  // What has neither is a whole number, which is of another type.
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string ScriptBool(bool value) { return value ? "True" : "False"; }

}  // namespace cyxwiz::exporting
