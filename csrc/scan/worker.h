// What one thread does: packing, the hoisted products, the steps forward and backward, the gradients of the weights.
//
// Included inside the namespace of the instruction set, which is why nothing here has a guard or includes anything else.
// One idea a file, each built on those before it.
#include "shape.h"
#include "memory.h"
#include "layout.h"
#include "rows.h"
#include "panels.h"
#include "tokens.h"
#include "lift.h"
#include "operands.h"
#include "attend.h"
#include "step.h"
#include "loop.h"
#include "weights.h"
#include "project.h"
#include "peak.h"
