/* Cortex-M: vectors, semihosting, SysTick. */
#include "board.h"

extern uint32_t stack_top[];
void reset(void);

static void fault(void)
{
    board_write("fault\n");
    board_exit();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault,
};

static uint32_t semihosting(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void board_write(const char *text)
{
    semihosting(0x04, text);
}

void board_exit(void)
{
    semihosting(0x18, (const void *)0x20026);
    for (;;) {
    }
}

#define SYSTICK ((volatile uint32_t *)0xe000e010u)

void board_start(void)
{
    SYSTICK[1] = 0xffffffu;
    SYSTICK[2] = 0;
    SYSTICK[0] = 5; /* the processor's clock, no interrupt */
    while (SYSTICK[2] == 0) {
    }
}

uint32_t board_instructions(void)
{
    return (uint32_t)((uint64_t)(0xffffffu - SYSTICK[2]) * 1000000000u / CLOCK);
}

uint32_t *board_stack(void)
{
    uint32_t *pointer;
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
    return pointer;
}
