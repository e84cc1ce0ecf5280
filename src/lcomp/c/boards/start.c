/* Start-up of any board: data and zeros in RAM, then the self-test. */
#include "board.h"

extern uint32_t data_begin[], data_end[], data_load[], bss_begin[], bss_end[];
int main(void);
void reset(void);

uint32_t *board_stack_end(void)
{
    return bss_end;
}

void reset(void)
{
    const uint32_t *from = data_load;
    for (uint32_t *to = data_begin; to < data_end; to++)
        *to = *from++;
    for (uint32_t *to = bss_begin; to < bss_end; to++)
        *to = 0;
    main();
}
