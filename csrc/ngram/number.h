// Numbers from and to text. <charconv> where the library has it for floats, since it knows no locale and is fast.
#pragma once

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

namespace elman::ngram {

// Whether `text` is a number and nothing else; "inf" and "nan" are numbers too.
inline bool parse(std::string_view text, double& value) {
    if (!text.empty() && text[0] == '+') text.remove_prefix(1);
#if defined(__cpp_lib_to_chars)
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    // Too small or too large for a double: strtod gives 0 or infinity, as is right here.
    if (error == std::errc() || error == std::errc::invalid_argument)
        return error == std::errc() && end == text.data() + text.size();
#endif
    const std::string copy(text);
    char* last = nullptr;
    value = std::strtod(copy.c_str(), &last);
    return !copy.empty() && last == copy.c_str() + copy.size();
}

inline bool parse(std::string_view text, std::uint64_t& value) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

// The shortest text that is read as the same float.
inline void append(std::string& text, float value) {
#if defined(__cpp_lib_to_chars)
    char digits[32];
    text.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
#else
    char digits[32];
    text.append(digits, static_cast<std::size_t>(std::snprintf(digits, sizeof digits, "%.9g", static_cast<double>(value))));
#endif
}

}  // namespace elman::ngram
