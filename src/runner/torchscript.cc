#include "runner/torchscript.h"

#include <torch/csrc/jit/api/module.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <vector>

#include "base/file.h"
#include "export/saved_model.h"
#include "export/torchscript.h"
#include "runner/data_type.h"

namespace cyxwiz::runner {
namespace {

namespace jit = torch::jit;

// Modules within modules, each of a class of its own, for each holds other names.
class ModuleTree {
 public:
  ModuleTree() : unit_(std::make_shared<jit::CompilationUnit>()), root_(Make("Model")) {}

  // The tensor's memory stays the owner's.
  void Add(const exporting::TorchScript::Tensor& tensor) {
    Node* node = &root_;
    for (size_t i = 0; i + 1 < tensor.path.size(); ++i) {
      auto [child, made] = node->children.try_emplace(tensor.path[i], nullptr);
      if (made) {
        child->second = std::make_unique<Node>(Make("Module" + std::to_string(++modules_)));
        node->module.register_module(tensor.path[i], child->second->module);
      }
      node = child->second.get();
    }
    at::Tensor values = at::from_blob(const_cast<void*>(tensor.view.data), tensor.view.shape,
                                      ScalarTypeOf(tensor.view.type));
    if (tensor.trainable) {
      values.set_requires_grad(true);
      node->module.register_parameter(tensor.path.back(), values, /*is_buffer=*/false);
    } else {
      node->module.register_buffer(tensor.path.back(), values);
    }
  }

  jit::Module& root() { return root_.module; }

 private:
  struct Node {
    jit::Module module;
    std::map<std::string, std::unique_ptr<Node>> children;
  };

  Node Make(const std::string& name) {
    Node node{jit::Module("__torch__.cyxwiz." + name, unit_), {}};
    node.module.register_attribute("training", c10::BoolType::get(), false);
    return node;
  }

  std::shared_ptr<jit::CompilationUnit> unit_;
  Node root_;
  int modules_ = 0;  // but for the root
};

}  // namespace

Status WriteTorchScript(const std::string& folder, const std::string& path) {
  ASSIGN_OR_RETURN(std::string description, ReadFile(folder + "/" + exporting::kModelFile));
  ASSIGN_OR_RETURN(exporting::SavedModel saved, exporting::ReadSavedModel(folder));
  ASSIGN_OR_RETURN(exporting::TorchScript script, exporting::ToTorchScript(saved));
  ModuleTree tree;
  try {
    for (const exporting::TorchScript::Tensor& tensor : script.tensors) tree.Add(tensor);
    tree.root().define(script.source);
  } catch (const std::exception& error) {
    return Internal("libtorch cannot compile the model of '" + folder + "': " + error.what());
  }
  const std::string temporary = path + ".tmp." + std::to_string(::getpid());
  Status status;
  try {
    tree.root().save(temporary, {{exporting::kModelFile, description}});
    status = MoveIntoPlace(temporary, path);
  } catch (const std::exception& error) {
    status = Internal("cannot write '" + path + "': " + error.what());
  }
  if (!status.ok()) ::unlink(temporary.c_str());
  return status;
}

}  // namespace cyxwiz::runner
