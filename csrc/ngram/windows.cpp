#include "ngram/windows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "ngram/array.h"
#include "ngram/image.h"

namespace elman::ngram {
namespace {


[[noreturn]] void refuse(const std::string& path) {
    throw std::runtime_error(path + ": cannot be used for sorting: " + std::strerror(errno) +
                             "; make room, or name another folder with TMPDIR");
}

template <int N>
struct Entry {
    std::array<std::uint32_t, N> words;
    std::uint32_t count;  // 0 marks an empty place

    bool operator<(const Entry& other) const { return words < other.words; }
};

// A run, read once from its begin to its end.
template <int N>
class Run {
  public:
    explicit Run(const std::string& path) : path_(path), file_(std::fopen(path.c_str(), "rb"), std::fclose) {
        if (!file_) refuse(path);
        buffer_.resize(1 << 14);
    }
    bool next() {
        if (++at_ >= filled_) {
            filled_ = std::fread(buffer_.data(), sizeof(Entry<N>), buffer_.size(), file_.get());
            if (std::ferror(file_.get())) refuse(path_);
            at_ = 0;
        }
        return at_ < filled_;
    }
    const Entry<N>& head() const { return buffer_[at_]; }

  private:
    std::string path_;
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
    std::vector<Entry<N>> buffer_;
    std::size_t at_ = 0, filled_ = 0;
};

template <int N>
class WindowsOf final : public Windows {
    using Key = std::array<std::uint32_t, N>;

  public:
    WindowsOf(std::uint64_t memory, const std::string& folder) : folder_(folder) {
        most_ = std::max<std::uint64_t>(memory / sizeof(Entry<N>), 16);
        table_ = Array<Entry<N>>(std::min<std::uint64_t>(std::bit_floor(most_), 1 << 16));
    }

    void add(const std::uint32_t* words, std::uint64_t count) override {
        Key key;
        for (std::uint64_t from = 0; from < count; from++) {
            for (int n = 0; n < N; n++) key[n] = from + n < count ? words[from + n] : NO_WORD;
            add_one(key);
        }
    }

    void sort(const Tick& tick) override {
        sort_table();
        if (paths_.empty()) return;
        if (used_) spill();
        table_ = {};
        for (const std::string& path : paths_) {
            runs_.emplace_back(path);
            if (runs_.back().next()) heap_.push_back(static_cast<int>(runs_.size() - 1));
            tick(0);
        }
        std::make_heap(heap_.begin(), heap_.end(), later());
    }

    bool next(const std::uint32_t*& words, std::uint64_t& count) override {
        if (paths_.empty()) {
            if (at_ >= used_) {
                table_ = {};
                return false;
            }
            words = table_[at_].words.data();
            count = table_[at_++].count;
            return true;
        }
        if (heap_.empty()) return false;
        merged_ = runs_[heap_.front()].head().words;
        count = 0;
        while (!heap_.empty() && runs_[heap_.front()].head().words == merged_) {
            std::pop_heap(heap_.begin(), heap_.end(), later());
            Run<N>& run = runs_[heap_.back()];
            count += run.head().count;
            if (run.next())
                std::push_heap(heap_.begin(), heap_.end(), later());
            else
                heap_.pop_back();
        }
        words = merged_.data();
        return true;
    }

    std::uint64_t distinct() const override { return used_ + spilled_; }
    int runs() const override { return static_cast<int>(paths_.size()); }

  private:
    static std::uint64_t hash(const Key& key) {
        std::uint64_t value = 0;
        for (std::uint32_t word : key) value = (std::rotl(value, 23) ^ word) * 0x9E3779B97F4A7C15u;
        return value ^ value >> 32;
    }

    auto later() {
        return [this](int a, int b) { return runs_[b].head() < runs_[a].head(); };
    }

    void add_one(const Key& key) {
        Entry<N>& entry = place(key);
        if (entry.count) {
            if (++entry.count == 0xFFFFFFFFu) spill_table();  // merging adds up in 64 bits
            return;
        }
        entry.words = key;
        entry.count = 1;
        if (++used_ * 3 > table_.size() * 2) {
            // While it grows there are two tables, one twice as large as the other: `most_` bounds both together.
            if (3 * table_.size() <= most_)
                enlarge();
            else
                spill_table();
        }
    }

    Entry<N>& place(const Key& key) {
        const std::uint64_t mask = table_.size() - 1;
        std::uint64_t at = hash(key) & mask;
        while (table_[at].count && table_[at].words != key) at = (at + 1) & mask;
        return table_[at];
    }

    void enlarge() {
        Array<Entry<N>> old = std::move(table_);
        table_ = Array<Entry<N>>(2 * old.size());
        for (const Entry<N>& entry : old)
            if (entry.count) place(entry.words) = entry;
    }

    void sort_table() {
        std::uint64_t to = 0;
        for (std::uint64_t from = 0; from < table_.size(); from++)
            if (table_[from].count) table_[to++] = table_[from];
        std::sort(table_.begin(), table_.begin() + used_);
    }

    void spill_table() {
        sort_table();
        spill();
        for (Entry<N>& entry : table_) entry = {};
    }

    void spill() {
        const std::string path = folder_ + "/run" + std::to_string(paths_.size());
        std::FILE* file = std::fopen(path.c_str(), "wb");
        if (!file) refuse(path);
        const bool written = std::fwrite(table_.begin(), sizeof(Entry<N>), used_, file) == used_;
        if (std::fclose(file) != 0 || !written) refuse(path);
        paths_.push_back(path);
        spilled_ += used_;
        used_ = 0;
    }

    std::string folder_;
    std::uint64_t most_, used_ = 0, spilled_ = 0, at_ = 0;
    Array<Entry<N>> table_;
    std::vector<std::string> paths_;
    std::vector<Run<N>> runs_;
    std::vector<int> heap_;
    Key merged_;
};

}  // namespace

std::unique_ptr<Windows> Windows::make(int order, std::uint64_t memory, const std::string& folder) {
    switch (order) {
        case 1: return std::make_unique<WindowsOf<1>>(memory, folder);
        case 2: return std::make_unique<WindowsOf<2>>(memory, folder);
        case 3: return std::make_unique<WindowsOf<3>>(memory, folder);
        case 4: return std::make_unique<WindowsOf<4>>(memory, folder);
        case 5: return std::make_unique<WindowsOf<5>>(memory, folder);
        case 6: return std::make_unique<WindowsOf<6>>(memory, folder);
        case 7: return std::make_unique<WindowsOf<7>>(memory, folder);
        default: throw std::invalid_argument("an order of " + std::to_string(order) + ", expected 1 to 7");
    }
}

}  // namespace elman::ngram
