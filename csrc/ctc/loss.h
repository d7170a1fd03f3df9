// A span's losses and gradients.

static std::size_t loss_storage(const Batch& batch, Span span) {
    return Work(batch, span, nullptr).bytes + std::size_t(span.count) * sizeof(Logarithms);
}

template <int NV>
static void loss_of_work(const Batch& batch, const Work& work, Logarithms* sums) {
    for (int k = 0; k < work.count; k++) sums[k] = Logarithms{};
    emissions<NV>(batch, work, sums);
    forward<NV>(work);
    for (int k = 0; k < work.count; k++) {
        const Sequence& q = work.sequence[k];
        if (!q.frames) {  // only the empty target fits no frames, and it does for certain
            batch.loss[q.element] = 0;
            continue;
        }
        const double nats = sums[k].value() - finish(work, k);
        double loss = (1 - double(batch.smoothing)) * nats;
        if (batch.smoothing > 0) loss += double(batch.smoothing) * q.divergence;
        batch.loss[q.element] = float(loss);
        if (!q.possible && batch.gradient) no_gradient(batch, q);
    }
    if (batch.gradient) backward<NV>(batch, work);
}

static void loss_of_span(const Batch& batch, Span span, char* storage) {
    const Work work(batch, span, storage);
    auto* sums = reinterpret_cast<Logarithms*>(storage + work.bytes);
#if defined(__AVX512F__)
    if (work.looked_up == 1) return loss_of_work<1>(batch, work, sums);
    if (work.looked_up == 2) return loss_of_work<2>(batch, work, sums);
    if (work.looked_up == 4) return loss_of_work<4>(batch, work, sums);
#endif
    loss_of_work<0>(batch, work, sums);
}
