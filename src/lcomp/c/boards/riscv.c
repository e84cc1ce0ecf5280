/* RISC-V: the first instruction, semihosting, the counter of instructions. */
#include "board.h"

void reset(void);

__attribute__((section(".vectors"), naked, used)) void start(void)
{
    __asm__ volatile("la sp, stack_top\n\tj reset");
}

static uint32_t semihosting(uint32_t operation, const void *argument)
{
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".option push\n\t.option norvc\n\t.balign 16\n\tslli x0, x0, 0x1f\n\tebreak\n\tsrai x0, x0, 7\n\t"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
    return a0;
}

void board_write(const char *text)
{
    semihosting(0x04, text);
}

void board_exit(void)
{
    static const uint32_t reason[2] = {0x20026u, 0};
    semihosting(0x18, (const void *)reason);
    semihosting(0x18, (const void *)0x20026);
    for (;;) {
    }
}

void board_start(void)
{
}

uint32_t board_instructions(void)
{
    uint32_t count;
    __asm__ volatile(".option push\n\t.option arch, +zicsr\n\tcsrr %0, minstret\n\t.option pop" : "=r"(count));
    return count;
}

uint32_t *board_stack(void)
{
    uint32_t *pointer;
    __asm__ volatile("mv %0, sp" : "=r"(pointer));
    return pointer;
}
