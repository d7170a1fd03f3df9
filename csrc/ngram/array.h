// A growing array of plain numbers. realloc moves large blocks by their page table, so that growing a gigabyte does
// not need two, and a page that was never written costs nothing.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

namespace elman::ngram {

template <class T>
class Array {
    static_assert(std::is_trivially_copyable_v<T>);

  public:
    Array() = default;
    explicit Array(std::uint64_t size, T value = T()) {
        grow(size);
        for (size_ = 0; size_ < size; size_++) data_[size_] = value;
    }
    Array(Array&& other) noexcept { swap(other); }
    Array& operator=(Array&& other) noexcept {
        Array(std::move(other)).swap(*this);
        return *this;
    }
    ~Array() { std::free(data_); }

    void push_back(T value) {
        if (size_ == room_) grow(room_ + room_ / 2 + 1024);
        data_[size_++] = value;
    }
    T& operator[](std::uint64_t i) { return data_[i]; }
    const T& operator[](std::uint64_t i) const { return data_[i]; }
    T& back() { return data_[size_ - 1]; }
    T* begin() { return data_; }
    T* end() { return data_ + size_; }
    const T* begin() const { return data_; }
    const T* end() const { return data_ + size_; }
    std::uint64_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    void truncate(std::uint64_t size) { size_ = size; }

  private:
    void swap(Array& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(room_, other.room_);
    }
    void grow(std::uint64_t room) {
        if (!room) return;
        T* moved = static_cast<T*>(std::realloc(data_, room * sizeof(T)));
        if (!moved) throw std::bad_alloc();
        data_ = moved;
        room_ = room;
    }

    T* data_ = nullptr;
    std::uint64_t size_ = 0, room_ = 0;
};

}  // namespace elman::ngram
