/* The self-test on an emulated board: how many examples are equal, the instructions and the stack of the first. */
#include "board.h"
#include "examples.h"
#include "model.h"

#define PAINT 0xa5a5a5a5u

static void write_number(const char *name, uint32_t number)
{
    char text[12];
    char *at = text + sizeof text;
    *--at = 0;
    *--at = '\n';
    do {
        *--at = (char)('0' + number % 10u);
        number /= 10u;
    } while (number > 0u);
    board_write(name);
    board_write(at);
}

int main(void)
{
#ifdef MODEL_OUTPUT_SCALE
    static int32_t output[MODEL_OUTPUTS];
#else
    static float output[MODEL_OUTPUTS];
#endif
    uint32_t equal = 0, instructions = 0, stack = 0;
    for (int i = 0; i < EXAMPLES; i++) {
        uint32_t same = 1;
        uint32_t *top = board_stack(), *bottom = board_stack_end();
        if (i == 0)
            for (uint32_t *at = bottom; at < top - 16; at++)
                *at = PAINT;
        board_start();
        const uint32_t before = board_instructions();
        model_run(example_inputs[i], output);
        if (i == 0) {
            instructions = board_instructions() - before;
            while (bottom < top && *bottom == PAINT)
                bottom++;
            stack = (uint32_t)((const char *)top - (const char *)bottom);
        }
        for (int o = 0; o < MODEL_OUTPUTS; o++)
            if (output[o] != example_outputs[i][o])
                same = 0;
        equal += same;
    }
    write_number("equal ", equal);
    write_number("instructions ", instructions);
    write_number("stack ", stack);
    board_exit();
    return 0;
}
