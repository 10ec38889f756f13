// The source of a module's forward: statements that give each variable one value, and expressions
// for the tensors of the module.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "export/torchscript.h"

namespace cyxwiz::exporting {

class ScriptSource {
 public:
  static constexpr std::string_view kInput = "input";  // forward's argument

  // A new variable that has the value of the expression.
  std::string Set(const std::string& expression);
  // A statement that is carried out while the module is in training.
  void InTraining(const std::string& statement);

  // name: in weights.safetensors, or one of our own without a dot. Result: its expression.
  std::string AddTensor(const std::string& name, TensorView view, bool trainable);

  // Of a forward that returns that variable. To be called once.
  TorchScript Finish(const std::string& result);

 private:
  // What a module holds. A name is given once, to a tensor or to a module.
  struct Names {
    struct Module {
      std::string name;
      std::unique_ptr<Names> names;
    };
    std::set<std::string> given;
    std::map<std::string, Module> modules;  // by the name that they should have

    std::string Give(std::string name);
  };

  Names names_;
  std::vector<TorchScript::Tensor> tensors_;
  std::string statements_;
  int variables_ = 0;
};

// In the source's form: "[1, 2]", "0.5", "True".
std::string ScriptList(const std::vector<int64_t>& numbers);
std::string ScriptNumber(double number);
std::string ScriptBool(bool value);

}  // namespace cyxwiz::exporting
