// The border between Python and C++: csrc/bindings is all that knows Python. Python validates, C++ trusts.
// A family of kernels has one file here, and one line in module.cpp.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

void bind_ctc(nanobind::module_& module);
void bind_dropout(nanobind::module_& module);
void bind_loss(nanobind::module_& module);
void bind_chain(nanobind::module_& module);
void bind_scan(nanobind::module_& module);
void bind_beam(nanobind::module_& module);
void bind_ngram(nanobind::module_& module);
void bind_stream(nanobind::module_& module);
