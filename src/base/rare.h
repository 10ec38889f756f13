// A value that few of many objects have: it takes the room of a pointer until it is given.
#pragma once

#include <memory>
#include <utility>

namespace cyxwiz {

// Reads, copies and compares as the T it stands for, which is T() until another one is given; being
// given T() frees its room.
template <typename T>
class Rare {
 public:
  Rare() = default;
  Rare(T value) : box_(value == T() ? nullptr : std::make_unique<T>(std::move(value))) {}
  Rare(const Rare& other) : box_(other.box_ ? std::make_unique<T>(*other.box_) : nullptr) {}
  Rare(Rare&&) noexcept = default;
  Rare& operator=(const Rare& other) { return *this = Rare(other); }
  Rare& operator=(Rare&&) noexcept = default;

  const T& operator*() const {
    static const T kNone{};
    return box_ != nullptr ? *box_ : kNone;
  }
  const T* operator->() const { return &**this; }
  // To change it in place.
  T& Edit() {
    if (box_ == nullptr) box_ = std::make_unique<T>();
    return *box_;
  }

  bool operator==(const Rare& other) const { return **this == *other; }

 private:
  std::unique_ptr<T> box_;
};

}  // namespace cyxwiz
