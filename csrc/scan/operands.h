// Where the operands of a stage are at one step.
//
// Included inside the namespace of the instruction set.

struct Base {  // an operand of a stage at one step
    float* at;
    ptrdiff_t block;  // floats to the next unit block
    int row, step;    // floats to the next row: of the tile, of the operand
};

struct Step {
    const Call& call;
    const Share& share;
    const Layout& at;
    int thread;
    int t;
    float *carry, *pass;
    float* scratch = call.scratch[thread];
    float* common = call.scratch[divides_units(call) ? 0 : thread];  // what stages hand on

    // Where the part of `width` after `places` others begins in a part of the scratch with one vector an element.
    ptrdiff_t vector(const int* widths, int place) const {
        ptrdiff_t floats = 0;
        for (int i = 0; i < place; i++) floats += ptrdiff_t(share.elements) * blocks(widths[i]) * L;
        return floats;
    }
    float* state(int which, int later) const {
        return call.states + call.state_at[which] + (share.first_state + share.start_state[t + later]) * L;
    }
    float* slot(int which, int later) const {
        return call.slots + call.slot_at[which] + (share.first + share.start[t + later]) * L;
    }
    Base operand(const Operand& operand) const {
        const Plan& plan = *call.plan;
        const int which = operand.which;
        const ptrdiff_t own = ptrdiff_t(share.elements) * L;
        switch (operand.kind) {
            case REG: return {scratch + at.reg + ptrdiff_t(which) * TILE_ROWS * L, 0, 0, L};
            case ACC: return {scratch + at.acc + ptrdiff_t(which) * TILE_ROWS * L, 0, 0, L};
            case SLOT: return {slot(which, 0), plan.slot_width[which] == 1 ? 0 : call.row_stride * L, L, L};
            case BEFORE: return {state(which, 0), call.state_stride * L, L, L};
            case AFTER: return {state(which, 1), call.state_stride * L, L, L};
            case PARAM: return {call.params + call.param_at[which], L, 0, 0};
            case TEMP:
                return {common + at.temp + vector(plan.temp_width, which), plan.temp_width[which] == 1 ? 0 : own, L, L};
            case CARRY: return {carry + vector(plan.state_width, which), own, L, L};
            case PASS: return {pass + vector(plan.state_width, which), own, L, L};
            case DOUT: {
                ptrdiff_t before = 0;
                for (int i = 0; i < which; i++) before += own * blocks(plan.output[i].width);
                return {scratch + at.dout + before, own, L, L};
            }
            case PGRAD: {
                ptrdiff_t before = 0;
                for (int i = 0; i < which; i++) before += blocks(plan.param_width[i]) * L;
                return {common + at.pgrad + before, L, 0, 0};
            }
            default: return {call.constants + ptrdiff_t(which) * L, 0, 0, 0};
        }
    }
};
